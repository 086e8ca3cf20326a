package ledger

import (
	"fmt"
	"net/mail"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// message is the commit message of an entry: a line for each transition, then
// trailers that `git log --format='%(trailers)'` finds.
func message(before Book, e Entry) string {
	lines := make([]string, 0, len(e.Events))
	for _, ev := range e.Events {
		lines = append(lines, subject(before, e.Book, ev))
	}
	if len(lines) == 0 {
		lines = []string{"nothing"}
	}
	// What a reader looks for comes first: a note rarely is it.
	for i, ev := range e.Events {
		if _, note := ev.(Note); !note {
			lines[0], lines[i] = lines[i], lines[0]
			break
		}
	}
	var b strings.Builder
	b.WriteString(lines[0] + "\n\n")
	for _, l := range lines[1:] {
		b.WriteString(l + "\n")
	}
	if len(lines) > 1 {
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "Stella-Environment: %s\nStella-Transition: %d\n", e.Book.State.Environment, e.Book.State.Transitions)
	if len(e.Events) > 0 {
		m := e.Events[len(e.Events)-1].meta()
		fmt.Fprintf(&b, "Stella-Version: %s\nStella-Rules: %d\nStella-Nonce: %s\n", safe.Clip(m.Version, 80), m.Rules, safe.Clip(m.Nonce, 80))
	}
	return b.String()
}

func subject(before, after Book, e Event) string {
	switch e := e.(type) {
	case Begin:
		return moved(before, e.Deployment, stella.Running)
	case Request:
		return moved(before, e.Deployment, stella.Pending)
	case Finish:
		return moved(before, e.Deployment, e.Deployment.Status)
	case Abort:
		d, _ := after.Deployment(e.ID)
		return moved(before, d, stella.Aborted)
	case Progress:
		return "renew the lock of " + safe.Clip(or(e.ID, e.LockID), 100)
	case Lock:
		if e.Lock.ByHand {
			return "freeze until " + stamp(e.Lock.ExpiresAt) + ": " + safe.Clip(e.Lock.Purpose, 100)
		}
		return "lock: " + safe.Clip(e.Lock.Purpose, 100)
	case Unlock:
		if e.Force {
			return "release lock " + safe.Clip(e.LockID, 80) + " by force: " + safe.Clip(e.Reason, 100)
		}
		return "release lock " + safe.Clip(e.LockID, 80)
	case Lift:
		return "lift hold " + safe.Clip(e.HoldID, 80) + ": " + safe.Clip(e.Reason, 100)
	case Note:
		return fmt.Sprintf("note %s, %s", safe.Clip(string(e.Summary.Sync), 40), safe.Clip(string(e.Summary.Health), 40))
	case PinTo:
		return "pin to " + safe.Clip(e.Pin.Deployment, 80) + " by " + safe.Clip(e.Pin.Commit, 12)
	case Unpin:
		return "unpin"
	case Found:
		return foundSubject(after, e)
	default:
		return typeName(e)
	}
}

// moved says how a deployment went from one status to the next: "deploy
// production-42: running → succeeded (2.4.0)".
func moved(before Book, d stella.Deployment, to stella.Status) string {
	s := fmt.Sprintf("%s %s: ", safe.Clip(string(d.Kind), 40), safe.Clip(d.ID, 100))
	if known, ok := before.Deployment(d.ID); ok {
		s += string(known.Status) + " → "
	} else if to != stella.Running && to != stella.Pending {
		s += string(stella.Running) + " → " // begun in the same entry
	}
	s += safe.Clip(string(to), 40)
	if d.Release != "" {
		s += " (" + safe.Clip(d.Release, 80) + ")"
	}
	return s
}

// identity splits an actor into what a commit's author has: "Ana
// <ana@example.com>", or a bare address or name.
func identity(actor string) (name, email string) {
	if a, err := mail.ParseAddress(actor); err == nil {
		return or(safe.Clip(a.Name, 100), safe.Clip(a.Address, 200)), safe.Clip(a.Address, 200)
	}
	return safe.Clip(actor, 200), ""
}

func foundSubject(after Book, e Found) string {
	s := fmt.Sprintf("drift: %d began, %d ended", len(e.Opened), len(e.Ended))
	if first := append(append([]stella.DriftFinding{}, e.Opened...), e.Ended...); len(first) > 0 {
		s += ": " + safe.Clip(first[0].Target+" "+string(first[0].Resource)+first[0].Path, 80)
		if len(first) > 1 {
			s += ", …"
		}
	}
	return s + fmt.Sprintf("; %d open", after.Drift.Count())
}
