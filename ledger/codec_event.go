package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// eventsFile is events.json. It names its environment, so that a commit can not
// pass for one of another's.
type eventsFile struct {
	SchemaVersion int               `json:"schemaVersion"`
	Environment   stella.EnvName    `json:"environment"`
	Transitions   int64             `json:"transitions"` // after these events, as in state.json
	Events        []json.RawMessage `json:"events"`
}

// EncodeEvents returns events.json for the events that led to the book.
func EncodeEvents(b Book, events []Event) ([]byte, error) {
	f := eventsFile{SchemaVersion: schemaVersion, Environment: b.State.Environment, Transitions: b.State.Transitions}
	for _, e := range events {
		raw, err := marshalEvent(e)
		if err != nil {
			return nil, err
		}
		f.Events = append(f.Events, raw)
	}
	f.Events = list(f.Events)
	return encode("events.json", f, MaxEventsBytes)
}

// DecodeEvents reads events.json of an environment: the events, and the number
// of transitions after them. Events of rules newer than this binary's are of
// class stella.ErrUnsupported.
func DecodeEvents(env stella.EnvName, data []byte) ([]Event, int64, error) {
	var f eventsFile
	if err := decode(data, MaxEventsBytes, false, &f); err != nil {
		return nil, 0, fmt.Errorf("events.json: %w", err)
	}
	if err := checkSchema(f.SchemaVersion); err != nil {
		return nil, 0, fmt.Errorf("events.json: %w", err)
	}
	if f.Environment != env {
		return nil, 0, foreign("events.json is of environment %q, not %s", safe.Clip(string(f.Environment), 80), env)
	}
	events := make([]Event, 0, len(f.Events))
	for i, raw := range f.Events {
		e, err := unmarshalEvent(raw)
		if err != nil {
			return nil, f.Transitions, fmt.Errorf("events.json: event %d: %w", i+1, err)
		}
		events = append(events, e)
	}
	return events, f.Transitions, nil
}

// tag is what an event's JSON starts with.
type tag struct {
	Type string `json:"type"`
}

// typeName is how an event is called in files and messages.
func typeName(e Event) string {
	switch e.(type) {
	case Begin:
		return "begin"
	case Request:
		return "request"
	case Progress:
		return "progress"
	case Finish:
		return "finish"
	case Abort:
		return "abort"
	case Lock:
		return "lock"
	case Unlock:
		return "unlock"
	case Lift:
		return "lift"
	case Note:
		return "note"
	case PinTo:
		return "pin"
	case Unpin:
		return "unpin"
	case Found:
		return "found"
	default:
		return "event"
	}
}

func marshalEvent(e Event) (json.RawMessage, error) {
	if e == nil {
		return nil, refuse(stella.ErrInvalid, "no event")
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(normalEvent(e)); err != nil {
		return nil, fmt.Errorf("encode %s: %w: %w", typeName(e), stella.ErrInvalid, err)
	}
	// The type comes first: {"at":…} becomes {"type":"begin","at":…}.
	head := fmt.Appendf(nil, `{"type":%q,`, typeName(e))
	return append(head, bytes.TrimSpace(body.Bytes())[1:]...), nil
}

func unmarshalEvent(raw []byte) (Event, error) {
	name, body, err := untagged(raw)
	if err != nil {
		return nil, err
	}
	e, err := unmarshalAs(name, body)
	if rules := rulesOf(e, raw); rules > RulesVersion {
		err := refuse(stella.ErrUnsupported, "rules %d, and this stella knows them up to %d", rules, RulesVersion)
		return nil, stella.WithHint(err, "update stella on this machine")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", safe.Clip(name, 40), err)
	}
	return normalEvent(e), nil
}

// rulesOf returns the rules of an event, be it understood or not.
func rulesOf(e Event, raw []byte) int {
	if e != nil {
		return e.meta().Rules
	}
	var head struct {
		Rules int `json:"rules"`
	}
	if json.Unmarshal(raw, &head) != nil {
		return 0
	}
	return head.Rules
}

// untagged returns the type of an event and its object without it, so that any
// other field that the event does not have can be refused.
func untagged(raw []byte) (name string, body []byte, err error) {
	// As it is written here: the type comes first.
	if rest, ok := bytes.CutPrefix(raw, []byte(`{"type":"`)); ok {
		known, rest, ok := bytes.Cut(rest, []byte(`",`))
		if ok && !bytes.Contains(known, []byte(`\`)) {
			return string(known), append([]byte{'{'}, rest...), nil
		}
	}
	var head tag
	var fields map[string]json.RawMessage
	if err := unmarshal(raw, false, &head); err != nil {
		return "", nil, err
	}
	if err := unmarshal(raw, false, &fields); err != nil {
		return "", nil, err
	}
	delete(fields, "type")
	body, err = json.Marshal(fields)
	return head.Type, body, err
}

func unmarshalAs(name string, body []byte) (Event, error) {
	switch name {
	case "begin":
		return as[Begin](body)
	case "request":
		return as[Request](body)
	case "progress":
		return as[Progress](body)
	case "finish":
		return as[Finish](body)
	case "abort":
		return as[Abort](body)
	case "lock":
		return as[Lock](body)
	case "unlock":
		return as[Unlock](body)
	case "lift":
		return as[Lift](body)
	case "note":
		return as[Note](body)
	case "pin":
		return as[PinTo](body)
	case "unpin":
		return as[Unpin](body)
	case "found":
		return as[Found](body)
	default:
		return nil, refuse(stella.ErrInvalid, "unknown type of event")
	}
}

func as[E Event](body []byte) (Event, error) {
	var e E
	if err := unmarshal(body, true, &e); err != nil {
		return nil, err
	}
	return e, nil
}
