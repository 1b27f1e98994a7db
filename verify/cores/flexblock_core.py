"""Coverage of `flexblock_core`."""
import numpy as np
def claims(params):
    return ()
def coverage(params,batch,outputs):
    return {"any": np.ones(len(batch["final"]), bool)}
