package ledger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/ledger"
)

func TestMessagesReadLikeALog(t *testing.T) {
	s := newStory(t)
	say := func(events ...ledger.Event) string {
		t.Helper()
		before := s.book
		var done []ledger.Event
		for _, e := range events {
			e, err := ledger.Complete(s.book, e, options(), s.now)
			if err != nil {
				t.Fatal(err)
			}
			if s.book, err = s.book.Apply(e); err != nil {
				t.Fatal(err)
			}
			done = append(done, e)
		}
		return ledger.Message(before, ledger.Entry{Events: done, Book: s.book})
	}
	subject := func(want string, events ...ledger.Event) {
		t.Helper()
		got, _, _ := strings.Cut(say(events...), "\n")
		equal(t, "subject", want, got)
	}
	d := stella.Deployment{Kind: stella.KindDeploy, Release: "2.4.0", Tree: "a"}
	subject("deploy production-1: pending (2.4.0)", ledger.Request{Deployment: d})
	d.ID = "production-1"
	subject("deploy production-1: pending → running (2.4.0)", ledger.Begin{Deployment: d})
	subject("renew the lock of production-1", ledger.Progress{ID: d.ID, LockID: s.lockID()})
	f := s.finish(stella.Succeeded)
	subject("deploy production-1: running → succeeded (2.4.0)", ledger.Note{}, f)
	subject("pin to production-1 by 0123456789ab…", ledger.PinTo{Pin: ledger.Pin{Ref: "r", Commit: "0123456789abcdef", Tree: "a", Deployment: "production-1"}})
	subject("unpin", ledger.Unpin{})
	subject("freeze until 2026-03-01T13:00:00Z: end of the quarter", frozen(noon().Add(time.Hour)))
	subject("release lock "+s.lockID(), ledger.Unlock{LockID: s.lockID()})
	subject("note Synced, Healthy", ledger.Note{Summary: ledger.Summary{Sync: stella.Synced, Health: stella.Healthy}})
	subject("lock: stop", ledger.Lock{Lock: stella.Lock{Purpose: "stop"}})
	id := s.lockID()
	subject("release lock "+id+` by force: it hangs\u000AStella-Nonce: x\u001B[2J`,
		ledger.Unlock{LockID: id, Force: true, Reason: "it hangs\nStella-Nonce: x\x1b[2J"})
	subject("deploy production-2: running", ledger.Begin{Deployment: stella.Deployment{Kind: stella.KindDeploy}})
	subject("deploy production-2: running → aborted", ledger.Abort{ID: "production-2", LockID: s.lockID(), Reason: "no"})
}

func TestMessagesEndWithTrailers(t *testing.T) {
	s := newStory(t)
	var done []ledger.Event
	for range 2 {
		e, err := ledger.Complete(s.book, request(), options(), s.now)
		if err != nil {
			t.Fatal(err)
		}
		r, ok := e.(ledger.Request)
		if !ok {
			t.Fatalf("%T", e)
		}
		r.Nonce = "n"
		if s.book, err = s.book.Apply(r); err != nil {
			t.Fatal(err)
		}
		done = append(done, r)
	}
	want := `deploy production-1: pending

deploy production-2: pending

Stella-Environment: production
Stella-Transition: 2
Stella-Version: 3.1.0
Stella-Rules: 2
Stella-Nonce: n
`
	equal(t, "message", want, ledger.Message(ledger.NewBook(env), ledger.Entry{Events: done, Book: s.book}))
}
