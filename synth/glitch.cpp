// Event-driven simulation of one clock cycle at a time, from settled nets to settled nets.
//
// Delays are inertial: an output that is told to go back before its change has come drops the
// change. Everything that happens at one instant happens together: first nets change, then the
// cells on them look at all their inputs, and the fastest of the changed ones decides when.
//
// A change counts by how far the net's voltage gets before it is turned back: it moves at a constant
// rate, and takes the time of `swing` from rail to rail.

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

namespace {

struct Event {
    int64_t time;
    int32_t driver;
    uint32_t stamp;
    bool operator>(const Event &other) const {
        return time != other.time ? time > other.time : driver > other.driver;
    }
};

struct Pending {
    bool waiting;
    bool value;
    uint32_t stamp;
    int32_t cause;  // index of the energy event, or -1
};

// A net on its way to a rail.
struct Move {
    double level;   // where it was when it set out, 0 to 1
    int64_t time;   // when that was
    int64_t cause;  // into `counts`, or -1
    bool to;
    bool moving;
};

}  // namespace

extern "C" {

// Arrays as narrowgauge/synth/glitch.py lays them out.
struct Netlist {
    int64_t nets, cells, logic, sources, words;
    const int32_t *kind;         // of each cell
    const int64_t *first;        // of each cell, into `pins` and `delay`; one more at the end
    const int32_t *pins;         // net of each variable of each cell
    const int64_t *delay;        // of each variable, when the output rises and falls
    const int32_t *out;          // net of each logic cell
    const int64_t *counter;      // of each cell, into `counts`
    const int64_t *table;        // of each kind, into `functions`
    const uint8_t *functions;    // of each state
    const int64_t *lookup;       // of each kind, into `arcs` and `hidden`
    const int32_t *arcs;         // energy event of each variable and state, output changing
    const int32_t *hidden;       // the same for the variable alone
    const int64_t *fanout_first; // of each net; one more at the end
    const int32_t *fanout_cell;
    const int32_t *fanout_pin;
    const int32_t *source;       // nets that change by themselves; the first is the clock, falling
    const int64_t *source_time;  // when each rises and falls
    const int64_t *swing;        // of each net, time from rail to rail, rising and falling
};

// Simulates `samples` transitions of the given streams. Returns -1, or a net that did not end at
// its settled value. `latest` is the time of the last change.
int64_t simulate(const Netlist *n, const uint64_t *before, const uint64_t *after,
                 const int32_t *streams, int64_t samples, double *toggles, double *rises,
                 double *counts, int64_t *latest) {
    std::vector<uint8_t> value(n->nets);
    std::vector<uint16_t> state(n->cells), moved(n->cells, 0);
    std::vector<Pending> pending(n->logic);
    std::vector<Move> moves(n->nets, Move{0.0, 0, -1, false, false});
    std::vector<int32_t> changed, affected, moved_nets;
    // Counts what a net has covered until `now`, or all of its way where it is not turned back.
    auto cover = [&](int32_t net, int64_t now, bool turned) {
        Move &own = moves[net];
        double way = own.to ? 1.0 - own.level : own.level;
        const int64_t swing = n->swing[2 * net + !own.to];
        if (turned && swing > 0) way = std::min(way, double(now - own.time) / double(swing));
        own.level += own.to ? way : -way;
        toggles[net] += way;
        if (own.to) rises[net] += way;
        if (own.cause >= 0) counts[own.cause] += way;
    };
    std::priority_queue<Event, std::vector<Event>, std::greater<Event>> queue;
    const int32_t clock = n->source[0];
    for (int64_t sample = 0; sample < samples; ++sample) {
        const int64_t word = streams[sample] / 64;
        const int shift = streams[sample] % 64;
        auto bit = [&](const uint64_t *rows, int64_t net) {
            return uint8_t(rows[net * n->words + word] >> shift & 1);
        };
        for (int64_t net = 0; net < n->nets; ++net) value[net] = bit(before, net);
        value[clock] = 1;
        for (int64_t cell = 0; cell < n->cells; ++cell) {
            uint16_t bits = 0;
            for (int64_t i = n->first[cell]; i < n->first[cell + 1]; ++i)
                bits |= uint16_t(value[n->pins[i]]) << (i - n->first[cell]);
            state[cell] = bits;
        }
        for (auto &each : pending) each = {false, false, 0, -1};
        moved_nets.clear();
        for (int64_t i = 0; i < n->sources; ++i) {
            const int32_t net = n->source[i];
            const uint8_t to = i ? bit(after, net) : 0;
            if (value[net] != to)
                queue.push({n->source_time[2 * i + (to ? 0 : 1)], int32_t(n->logic + i), 0});
        }
        while (!queue.empty()) {
            const int64_t now = queue.top().time;
            changed.clear();
            affected.clear();
            for (; !queue.empty() && queue.top().time == now; queue.pop()) {
                const Event event = queue.top();
                int32_t net;
                int64_t cause = -1;
                if (event.driver < n->logic) {
                    Pending &own = pending[event.driver];
                    if (!own.waiting || own.stamp != event.stamp) continue;
                    own.waiting = false;
                    net = n->out[event.driver];
                    if (own.cause >= 0) cause = n->counter[event.driver] + own.cause;
                } else {
                    net = n->source[event.driver - n->logic];
                }
                value[net] ^= 1;
                if (net != clock) {
                    Move &own = moves[net];
                    if (own.moving) {
                        cover(net, now, true);
                    } else {
                        own.level = !value[net];
                        moved_nets.push_back(net);
                    }
                    own = {own.level, now, cause, bool(value[net]), true};
                    *latest = std::max(*latest, now);
                }
                changed.push_back(net);
            }
            for (const int32_t net : changed)
                for (int64_t i = n->fanout_first[net]; i < n->fanout_first[net + 1]; ++i) {
                    const int32_t cell = n->fanout_cell[i];
                    const uint16_t mask = uint16_t(1) << n->fanout_pin[i];
                    if (!moved[cell]) affected.push_back(cell);
                    moved[cell] |= mask;
                    state[cell] ^= mask;
                }
            for (const int32_t cell : affected) {
                const int32_t kind = n->kind[cell];
                const int64_t variables = n->first[cell + 1] - n->first[cell];
                const uint16_t pins = moved[cell];
                moved[cell] = 0;
                const int32_t *hidden = n->hidden + n->lookup[kind] + state[cell];
                for (int64_t pin = 0; pin < variables; ++pin)
                    if (pins >> pin & 1) {
                        const int32_t event = hidden[pin << variables];
                        if (event >= 0) counts[n->counter[cell] + event] += 1;
                    }
                if (cell >= n->logic) continue;
                const bool wanted = n->functions[n->table[kind] + state[cell]];
                Pending &own = pending[cell];
                if (wanted == (own.waiting ? own.value : bool(value[n->out[cell]]))) continue;
                ++own.stamp;
                if (own.waiting) {
                    own.waiting = false;
                    continue;
                }
                int64_t delay = INT64_MAX;
                int64_t fastest = 0;
                for (int64_t pin = 0; pin < variables; ++pin) {
                    const int64_t own_delay = n->delay[2 * (n->first[cell] + pin) + !wanted];
                    if ((pins >> pin & 1) && own_delay < delay) {
                        delay = own_delay;
                        fastest = pin;
                    }
                }
                own.waiting = true;
                own.value = wanted;
                own.cause = n->arcs[n->lookup[kind] + (fastest << variables) + state[cell]];
                queue.push({now + delay, cell, own.stamp});
            }
        }
        for (const int32_t net : moved_nets) {
            cover(net, 0, false);
            moves[net].moving = false;
        }
        for (int64_t net = 0; net < n->nets; ++net)
            if (net != clock && value[net] != bit(after, net)) return net;
    }
    return -1;
}
}
