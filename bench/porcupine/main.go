// Command porcupine judges natsproof's history files with Porcupine, for comparison with
// natsproof's own checker of registers.
//
//	porcupine [-timeout 60s] [-memory 8] history.jsonl
//
// It prints one JSON object: verdict (Ok, Illegal, Unknown), operations judged, seconds of the search
// alone, and what an Unknown ran out of: time or memory. Reading the file is not counted.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime/metrics"
	"sort"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Values of natsproof.history.Kind and Outcome that matter here.
const (
	put, create, update, remove, purge = 0, 1, 2, 3, 4
	get, finalGet                      = 5, 14
	ok, failed, unknown                = 0, 1, 2
	none, absent                       = -1, -1
)

// row is one operation, in the order of the file's columns.
type row struct {
	kind, client, server, key, call, back, outcome, revision, expected, value, created, failure int64
}

// register is one key: the highest revision given, the one of its last message (none if nobody was
// told it), and whether there is a value.
type register struct {
	top, last int64
	present   bool
}

// asked is what an operation does and, as in natsproof, everything that was answered. before is the
// next lower revision that any write of the key was given: without it the search would try writes in
// orders that the revisions forbid, and not end.
type asked struct {
	kind, key, revision, expected, value, before int64
}

// step says whether an operation is legal in a state, and the state after it.
func step(state, input, _ interface{}) (bool, interface{}) {
	now, op := state.(register), input.(asked)
	switch op.kind {
	case get:
		if op.value == absent {
			return !now.present, now
		}
		return now.present && now.last == op.revision, now
	case create:
		if now.present {
			return false, now
		}
	case update, remove:
		if op.expected > 0 && now.last != op.expected {
			return false, now
		}
		if op.kind == update && op.expected == 0 && now.present {
			return false, now
		}
	}
	if op.revision == none { // a deletion of unknown outcome: it has no effect if it comes last
		return true, register{now.top, none, false}
	}
	if now.top != op.before {
		return false, now
	}
	return true, register{op.revision, op.revision, op.kind < remove}
}

var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[int64][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(asked).key
			byKey[key] = append(byKey[key], op)
		}
		parts := make([][]porcupine.Operation, 0, len(byKey))
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() interface{} { return register{} },
	Step: step,
}

// once is taken by the first answer and never given back.
var once sync.Mutex

func main() {
	timeout := flag.Duration("timeout", 60*time.Second, "give up after this long")
	memory := flag.Float64("memory", 8, "give up with this many GiB held")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: porcupine [-timeout 60s] [-memory 8] history.jsonl")
		os.Exit(2)
	}
	rows, err := read(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	history := operations(rows)
	began := time.Now()
	go func() { // the search remembers each state it saw: the kernel would kill it, and more than it
		for !fuller(*memory) {
			time.Sleep(50 * time.Millisecond)
		}
		say(porcupine.Unknown, len(history), time.Since(began), "memory")
		os.Exit(0)
	}()
	verdict := porcupine.CheckOperationsTimeout(model, history, *timeout)
	took, lacking := time.Since(began), ""
	if verdict == porcupine.Unknown {
		lacking = "time"
	}
	say(verdict, len(history), took, lacking)
}

// fuller says whether the process holds more GiB than the limit, garbage included.
func fuller(limitGiB float64) bool {
	held := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(held)
	return float64(held[0].Value.Uint64()-held[1].Value.Uint64()) > limitGiB*(1<<30)
}

// say prints the answer once: of two that end at one moment the second waits for the end of the process.
func say(verdict porcupine.CheckResult, operations int, took time.Duration, lacking string) {
	once.Lock()
	answer := map[string]interface{}{
		"verdict": verdict, "operations": operations, "seconds": took.Seconds(), "lacking": lacking,
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		os.Exit(1)
	}
}

// read returns the operations of a history file; records other than operations are skipped.
func read(path string) ([]row, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var rows []row
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	for number := 1; lines.Scan(); number++ {
		line := lines.Bytes()
		if !bytes.HasPrefix(line, []byte("[")) {
			continue
		}
		var c [12]int64
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, fmt.Errorf("%s:%d: not an operation: %w", path, number, err)
		}
		rows = append(rows, row{c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], c[10], c[11]})
	}
	return rows, lines.Err()
}

// operations gives Porcupine what natsproof judges: acknowledged writes, reads through the leader, and
// writes of unknown outcome that a read proves (at the revision it shows). Unproved puts are left out:
// coming last, they change nothing. So would unproved deletions, but they may also come earlier.
func operations(rows []row) []porcupine.Operation {
	shown := map[int64]int64{}
	for _, r := range rows {
		if r.kind >= get && r.outcome == ok && r.value >= 0 && r.revision >= 0 {
			shown[r.value] = r.revision
		}
	}
	var out []porcupine.Operation
	for _, r := range rows {
		op := asked{r.kind, r.key, r.revision, r.expected, r.value, 0}
		back := r.back
		switch {
		case r.kind == get || r.kind == finalGet:
			if r.outcome != ok {
				continue
			}
			op.kind = get
		case r.kind > purge || r.outcome == failed:
			continue
		case r.outcome == unknown:
			back = math.MaxInt64
			revision, proved := shown[r.value]
			switch {
			case r.kind < remove && proved:
				op.revision = revision
			case r.kind < remove:
				continue
			}
		}
		if op.kind == purge {
			op.kind = remove
		}
		out = append(out, porcupine.Operation{ClientId: int(r.client), Input: op, Call: r.call, Return: back})
	}
	follow(out)
	return out
}

// follow tells each write the revision of the one before it on its key.
func follow(history []porcupine.Operation) {
	writes := []int{}
	for i, op := range history {
		if w := op.Input.(asked); w.kind <= purge && w.revision != none {
			writes = append(writes, i)
		}
	}
	sort.Slice(writes, func(a, b int) bool {
		x, y := history[writes[a]].Input.(asked), history[writes[b]].Input.(asked)
		return x.key < y.key || x.key == y.key && x.revision < y.revision
	})
	for n, i := range writes {
		op := history[i].Input.(asked)
		if n > 0 {
			if last := history[writes[n-1]].Input.(asked); last.key == op.key {
				op.before = last.revision
			}
		}
		history[i].Input = op
	}
}
