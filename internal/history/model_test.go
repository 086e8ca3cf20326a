package history_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/stella-ops/stella"
)

// operation is one operation of a history, pieced together from a client's log.
type operation struct {
	entry
	slot         int
	call, finish int64
}

// operations reads all logs. What was called and never tried did nothing, and
// what has no return is unknown: its client was killed.
func operations(t testing.TB, dir string) []operation {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "log-*"))
	if err != nil {
		t.Fatal(err)
	}
	var all []operation
	for _, file := range files {
		var slot, life int
		if _, err := fmt.Sscanf(filepath.Base(file), "log-%d-%d", &slot, &life); err != nil {
			t.Fatal(err)
		}
		all = append(all, operationsOf(t, file, slot)...)
	}
	return all
}

func operationsOf(t testing.TB, file string, slot int) []operation {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var all []operation
	var op *operation
	tried := false
	end := func() {
		if op != nil && (tried || op.Op == apply) {
			all = append(all, *op)
		}
		op = nil
	}
	s := bufio.NewScanner(f)
	for s.Scan() {
		var e entry
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		switch e.What {
		case "call":
			end()
			op, tried = &operation{entry: e, slot: slot, call: e.At, finish: math.MaxInt64}, false
			op.Answer = unknown
		case "try":
			op.Fence, op.Prev, op.Takeover, op.ID, tried = e.Fence, e.Prev, e.Takeover, e.ID, true
		case "return":
			if op.entry, op.finish = e, e.At; e.Answer == unknown {
				op.finish = math.MaxInt64
			}
			tried = tried || e.Answer == refused
			end()
		}
	}
	end()
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	return all
}

// lockState is the model: who may write is the last who acquired, until it gives
// back or somebody takes over.
type lockState struct {
	Fence int64
	Held  bool
}

func lockModel() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{lockState{}} },
		Step: func(s, in, _ any) []any { return step(s.(lockState), in.(operation)) },
		DescribeOperation: func(in, _ any) string {
			o := in.(operation)
			return fmt.Sprintf("%s %s under %d (saw %d, takeover %v): %s %s", o.Op, o.Nonce, o.Fence, o.Prev, o.Takeover, o.Answer, o.Class)
		},
		DescribeState: func(s any) string { return fmt.Sprintf("%+v", s) },
	}
	return m.ToModel()
}

// step lists the states that an operation can lead to, none where the answer is
// impossible.
func step(s lockState, o operation) (next []any) {
	if o.Answer == refused {
		return refusal(s, o)
	}
	if o.Answer == unknown {
		next = append(next, s) // it did not land
	}
	mine := s.Held && s.Fence == o.Fence
	switch o.Op {
	case acquire:
		if s.Fence == o.Prev && o.Fence == s.Fence+1 && s.Held == o.Takeover {
			next = append(next, lockState{o.Fence, true})
		}
	case progress:
		if mine && len(next) == 0 {
			next = append(next, s)
		}
	case release, finish:
		if mine {
			next = append(next, lockState{s.Fence, false})
		}
	}
	return next
}

// refusal must have had its reason at some moment between call and return.
func refusal(s lockState, o operation) []any {
	mine := s.Held && s.Fence == o.Fence
	if o.Class == stella.ErrFenced.Error() && mine || o.Class == stella.ErrLocked.Error() && !s.Held {
		return nil
	}
	return []any{s}
}

// checkTime bounds one check: a history that takes longer proves nothing.
const checkTime = 20 * time.Second

// histories checks what the clients did at the ledger against the model. It
// returns what is wrong and leaves a picture of that.
func histories(t testing.TB, dir string, all []operation) string {
	t.Helper()
	all = slices.DeleteFunc(slices.Clone(all), func(o operation) bool { return o.Op == apply })
	var history []porcupine.Operation
	for i, o := range all {
		id := o.slot
		if o.Answer == unknown {
			id = clients + i // it never returned: its client has gone on as another
		}
		history = append(history, porcupine.Operation{ClientId: id, Input: o, Call: o.call, Output: o, Return: o.finish})
	}
	result, info := porcupine.CheckOperationsVerbose(lockModel(), history, checkTime)
	if result == porcupine.Ok {
		return ""
	}
	picture := filepath.Join(dir, "history.html")
	if err := porcupine.VisualizePath(lockModel(), info, picture); err != nil {
		t.Error(err)
	}
	if result == porcupine.Unknown {
		t.Fatalf("porcupine did not end within %s; see %s", checkTime, picture)
	}
	return "history: not linearizable, see " + picture
}
