"""Speed of the golden models beside other libraries; run by hand, not by pytest."""
