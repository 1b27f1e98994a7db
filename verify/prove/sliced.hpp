// What every compiled proof shares: vectors of 512 inputs, their comparison, and values of codes.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

typedef uint32_t word __attribute__((vector_size(64)));

// --- Values of codes, and the rounding of a double to a code, in the host's IEEE arithmetic.

static inline double from_bits(uint64_t bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint64_t to_bits(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

// 2**n, for the exponents of normal doubles.
static inline double power_of_two(int n) { return from_bits(uint64_t(n + 1023) << 52); }

// The value of a code of E exponent and M mantissa bits; codes of Inf and NaN give the double's.
template <int E, int M> static inline double value_of(uint32_t code) {
  const int bias = (1 << (E - 1)) - 1, top = (1 << E) - 1;
  const int field = int(code >> M) & top;
  const uint32_t fraction = code & ((1u << M) - 1);
  const double significand = int(fraction + (field ? 1u << M : 0u));
  const double finite = significand * power_of_two((field ? field : 1) - bias - M);
  const double special = fraction ? from_bits(0x7ff8000000000000) : from_bits(0x7ff0000000000000);
  const double magnitude = field == top ? special : finite;
  return (code >> (E + M)) & 1 ? -magnitude : magnitude;
}

enum Rounding { RNE, RTZ, RNA };

// The code of E exponent and M mantissa bits for a double: its magnitude in units of the last place
// that it can have is rounded to a whole number. Exact for every double that is normal or zero.
template <int E, int M, Rounding rounding, bool saturate>
static inline uint32_t code_of(double value) {
  const int bias = (1 << (E - 1)) - 1, least = 1 - bias;
  const uint32_t infinity = ((1u << E) - 1) << M, nan = infinity | 1u << (M - 1);
  const uint64_t bits = to_bits(value);
  const uint32_t sign = uint32_t(bits >> 63) << (E + M);
  const uint64_t rest = bits & 0x7fffffffffffffff;
  const bool is_nan = rest > 0x7ff0000000000000, is_inf = rest == 0x7ff0000000000000;
  const double magnitude = from_bits(is_nan || is_inf ? 0 : rest);
  const int exponent = int(to_bits(magnitude) >> 52) - 1023;
  const int unit = (exponent > least ? exponent : least) - M;
  const double count = magnitude * power_of_two(-unit);
  const double down = std::trunc(count);
  const double whole = rounding == RTZ   ? down
                       : rounding == RNA ? down + (count - down >= 0.5 ? 1.0 : 0.0)
                                         : std::nearbyint(count);
  // A whole number of 2**(M + 1) units is the first code of the next exponent.
  uint32_t code = (uint32_t(unit - (least - M)) << M) + uint32_t(int(whole));
  // Far beyond the largest exponent the code would not fit its field.
  const bool over = exponent > bias || code >= infinity;
  const uint32_t largest = infinity - 1;
  code = over ? (saturate || rounding == RTZ ? largest : infinity) : code;
  code = is_inf ? (saturate ? largest : infinity) : code;
  return is_nan ? nan : code | sign;
}

// a + b rounded to odd: where the sum is inexact, the one of its two neighbours whose last bit is
// set. A later rounding to 51 bits or fewer, of any kind, is then that of the exact sum.
// S. Boldo, G. Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using
// rounding to odd", 2008; the error of a sum after D. E. Knuth.
static inline double sum_to_odd(double a, double b) {
  const double sum = a + b, part = sum - a;
  const double error = (a - (sum - part)) + (b - part);
  const uint64_t bits = to_bits(sum);
  const bool inexact = error != 0 && std::fabs(sum) < from_bits(0x7ff0000000000000);
  const bool outward = (to_bits(error) ^ bits) >> 63 == 0;
  return from_bits(inexact && !(bits & 1) ? (outward ? bits + 1 : bits - 1) : bits);
}

// --- The search.

// Rows of 32 words become columns: bit j of row b after is bit b of row j before.
static inline void transpose(word *rows) {
  uint32_t mask = 0x0000ffff;
  for (int step = 16; step; step >>= 1, mask ^= mask << step)
    for (int k = 0; k < 32; k = (k + step + 1) & ~step) {
      const word moved = ((rows[k] >> step) ^ rows[k + step]) & mask;
      rows[k] ^= moved << step;
      rows[k + step] ^= moved;
    }
}

// Input 512 * block + 32 * element + bit stands in that bit of that element.
template <int inputs, int outputs, typename Design, typename Expected>
static int search(int count, char **words, Design design, Expected expected) {
  if (count != 3) return 2;
  const uint64_t first = std::strtoull(words[1], nullptr, 10);
  const uint64_t end = std::strtoull(words[2], nullptr, 10);
  word x[32], y[32], want[32];
  const uint32_t bits[5] = {0xaaaaaaaa, 0xcccccccc, 0xf0f0f0f0, 0xff00ff00, 0xffff0000};
  for (uint64_t block = first; block < end; block++) {
    const uint32_t base = uint32_t(block) * 512;
    for (int i = 0; i < inputs; i++)
      for (int element = 0; element < 16; element++)
        x[i][element] = i < 5   ? bits[i]
                        : i < 9 ? 0u - (uint32_t(element) >> (i - 5) & 1)
                                : 0u - (base >> i & 1);
    design(x, y);
    uint32_t results[32][16];
    for (uint32_t bit = 0; bit < 32; bit++)
      for (uint32_t element = 0; element < 16; element++)
        results[bit][element] = expected(base + 32 * element + bit);
    std::memcpy(want, results, sizeof want);
    transpose(want);
    word differ = {};
    for (int i = 0; i < outputs; i++) differ |= y[i] ^ want[i];
    // A bit that TDATA does not have is a fault of the specification.
    for (int i = outputs; i < 32; i++) differ |= want[i];
    for (uint32_t element = 0; element < 16; element++)
      for (uint32_t bit = 0; differ[element] && bit < 32; bit++)
        if (differ[element] >> bit & 1) {
          uint32_t got = 0;
          for (int i = 0; i < outputs; i++) got |= (y[i][element] >> bit & 1) << i;
          std::printf("differ %u %u %u\n", base + 32 * element + bit, results[bit][element], got);
          return 1;
        }
  }
  std::printf("equal %llu\n", (unsigned long long)(end - first) * 512);
  return 0;
}
