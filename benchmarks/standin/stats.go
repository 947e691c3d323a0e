package main

import (
	"bytes"
	"os"
	"sort"
	"strconv"
	"syscall"
	"time"
)

// What was asked for, what arrived, how late, and what it cost: the contestant and the stand-in itself.

const clockTicks = 100 // a second, of /proc/PID/stat on Linux

// counts are guarded by the world's mutex. All but the first three begin anew with `reset`.
type counts struct {
	pid         int // of the contestant; 0: not known
	sinkStopped bool
	held        bool // the records are kept back: every shard seems to be empty

	since     time.Time
	ownCPU    float64
	calls     map[string]int64
	records   int64
	polled    []bool
	atEnd     []bool
	pending   int // shards that were not read to their end yet
	unpolled  int
	seen      bitset // records that arrived, by number
	distinct  int64
	repeated  int64
	verbatim  int64
	late      []time.Duration
	first     time.Time // the first message
	last      time.Time
	firstRead snapshot
	done      snapshot
}

// snapshot is a moment and what CPU time the contestant had used by then.
type snapshot struct {
	at   time.Time
	cpuS float64
}

func (w *world) reset() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.counts = counts{
		pid: w.pid, sinkStopped: w.sinkStopped, held: w.held, since: time.Now(), ownCPU: ownCPU(), calls: map[string]int64{},
		polled: make([]bool, w.load.shards), atEnd: make([]bool, w.load.shards), pending: w.load.shards,
		unpolled: w.load.shards,
	}
	for name := range w.queues {
		w.queues[name] = 0
	}
}

func (w *world) count(operation string) {
	w.mutex.Lock()
	w.calls[operation]++
	w.mutex.Unlock()
}

func (w *world) stopped() bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.sinkStopped
}

// pageRead notes that a page was given out.
func (w *world) pageRead(shard int, first, last, end int64) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.firstRead.at.IsZero() {
		w.firstRead = w.look()
	}
	w.records += last - first
	if !w.polled[shard] {
		w.polled[shard] = true
		w.unpolled--
	}
	// Whoever asks at the end has got all that is before it.
	if first >= end && !w.atEnd[shard] {
		w.atEnd[shard] = true
		w.pending--
		w.checkDone()
	}
}

// take counts the messages of a batch and returns the number of the first.
func (w *world) take(queue string, entries []entry, arrived time.Time) int64 {
	numbers, verbatim, late := w.inspect(entries, arrived)
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.first.IsZero() {
		w.first = arrived
	}
	w.last = arrived
	w.verbatim += verbatim
	w.late = append(w.late, late...)
	for _, number := range numbers {
		if w.seen.add(number) {
			w.distinct++
		} else {
			w.repeated++
		}
	}
	taken := w.queues[queue]
	w.queues[queue] += int64(len(entries))
	w.checkDone()
	return taken
}

// inspect finds out which records the messages hold, how many are such a record byte for byte, and how late they are.
func (w *world) inspect(entries []entry, arrived time.Time) (numbers []int64, verbatim int64, late []time.Duration) {
	var written []byte
	for at := range entries {
		number := numberIn(entries[at].body)
		if number < 0 {
			continue
		}
		numbers = append(numbers, number)
		shard, place := w.load.placeOf(number)
		written, _ = w.appendPage(written[:0], shard, place, place+1)
		if bytes.Equal(written, entries[at].body) {
			verbatim++
		}
		if place >= w.load.records {
			late = append(late, arrived.Sub(w.producedAt(shard, place)))
		}
	}
	return numbers, verbatim, late
}

// checkDone notes the moment at which a backlog was read to its end and all that matches had arrived.
func (w *world) checkDone() {
	if w.done.at.IsZero() && w.pending == 0 && w.load.rate == 0 && w.distinct >= w.backlogMatches() {
		w.done = w.look()
	}
}

func (w *world) backlogMatches() int64 {
	return int64(w.load.shards) * w.load.matchesBefore(w.load.records)
}

func (w *world) look() snapshot { return snapshot{time.Now(), cpuOf(w.pid)} }

// cpuOf is the user and system time of a process and its children, all their threads included; 0 for one that is not
// there.
func cpuOf(pid int) float64 {
	folder := "/proc/" + strconv.Itoa(pid)
	text, err := os.ReadFile(folder + "/stat")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	user, _ := strconv.Atoi(string(fields[11]))
	system, _ := strconv.Atoi(string(fields[12]))
	cpu := float64(user+system) / clockTicks
	children, _ := os.ReadFile(folder + "/task/" + strconv.Itoa(pid) + "/children")
	for _, child := range bytes.Fields(children) {
		number, _ := strconv.Atoi(string(child))
		cpu += cpuOf(number)
	}
	return cpu
}

func ownCPU() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

func (w *world) stats() map[string]any {
	now := time.Now()
	expected := int64(0)
	for shard := 0; shard < w.load.shards; shard++ {
		expected += w.load.matchesBefore(w.end(shard, now))
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	calls := make(map[string]int64, len(w.calls))
	for name, number := range w.calls {
		calls[name] = number
	}
	queues := make(map[string]int64, len(w.queues))
	for name, number := range w.queues {
		queues[name] = number
	}
	return map[string]any{
		"now_s": seconds(now), "since_s": seconds(w.since), "cpu_s": ownCPU() - w.ownCPU, "calls": calls, "taken": queues,
		"records": w.records, "expected": expected, "distinct": w.distinct, "repeated": w.repeated,
		"verbatim": w.verbatim, "unpolled": w.unpolled, "latency_ms": percentiles(w.late),
		"first_s": seconds(w.first), "last_s": seconds(w.last), "contestant_cpu_s": cpuOf(w.pid),
		"first_read_s": seconds(w.firstRead.at), "first_read_cpu_s": w.firstRead.cpuS,
		"done_s": seconds(w.done.at), "done_cpu_s": w.done.cpuS,
	}
}

// seconds since 1970; null for a moment that has not come.
func seconds(moment time.Time) any {
	if moment.IsZero() {
		return nil
	}
	return float64(moment.UnixNano()) / 1e9
}

func percentiles(late []time.Duration) map[string]float64 {
	if len(late) == 0 {
		return map[string]float64{}
	}
	sorted := append([]time.Duration(nil), late...)
	sort.Slice(sorted, func(a, b int) bool { return sorted[a] < sorted[b] })
	at := func(share float64) float64 {
		return float64(sorted[int(share*float64(len(sorted)-1))].Microseconds()) / 1000
	}
	return map[string]float64{"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1)}
}

// bitset is a set of small numbers.
type bitset []uint64

// add says whether the number is new.
func (b *bitset) add(number int64) bool {
	word, bit := int(number/64), uint64(1)<<(number%64)
	for len(*b) <= word {
		*b = append(*b, make([]uint64, len(*b)+1024)...)
	}
	known := (*b)[word]&bit != 0
	(*b)[word] |= bit
	return !known
}
