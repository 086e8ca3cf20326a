package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// The most that is read or written of each file. A reader would otherwise hold
// whatever somebody pushed in memory; a writer never makes what no reader
// takes.
const (
	MaxStateBytes      = 16 << 20
	MaxDeploymentBytes = 4 << 20
	MaxEventsBytes     = 16 << 20
)

const (
	schemaVersion = 1
	maxDepth      = 64
)

// EncodeState returns state.json.
func EncodeState(s State) ([]byte, error) {
	return encode("state.json", normalState(s), MaxStateBytes)
}

// EncodeDeployment returns the file of one deployment.
func EncodeDeployment(d stella.Deployment) ([]byte, error) {
	return encode("deployment "+d.ID, normalDeployment(d), MaxDeploymentBytes)
}

func encode(what string, v any, most int) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %s: %w: %w", what, stella.ErrInvalid, err)
	}
	out := printable(b.Bytes())
	if len(out) > most {
		return nil, refuse(stella.ErrInvalid, "%s would have %d bytes, more than %d", what, len(out), most)
	}
	return out, nil
}

// printable escapes in JSON what a terminal would obey (C1 controls, bidi
// overrides) and encoding/json leaves alone. The value stays the same.
func printable(data []byte) []byte {
	if !slices.ContainsFunc(data, func(b byte) bool { return b >= 0x7f }) {
		return data // as nearly always
	}
	keep := func(r rune) bool { return r < utf8.RuneSelf && r != 0x7f || unicode.IsPrint(r) }
	var b bytes.Buffer
	for _, r := range string(data) {
		switch {
		case keep(r):
			b.WriteRune(r)
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

// DecodeState reads state.json of an environment. What newer rules wrote is
// read as far as it is understood, and can not be written to: see [Book.Apply].
// Errors are of class stella.ErrInvalid, or stella.ErrTampered for the state of
// another environment or an impossible one.
func DecodeState(env stella.EnvName, data []byte) (State, error) {
	var head struct {
		SchemaVersion int            `json:"schemaVersion"`
		Environment   stella.EnvName `json:"environment"`
		Rules         int            `json:"rules"`
	}
	if err := decode(data, MaxStateBytes, false, &head); err != nil {
		return State{}, fmt.Errorf("state.json: %w", err)
	}
	if err := checkSchema(head.SchemaVersion); err != nil {
		return State{}, fmt.Errorf("state.json: %w", err)
	}
	if head.Environment != env {
		return State{}, foreign("state.json is of environment %q, not %s", safe.Clip(string(head.Environment), 80), env)
	}
	var s State
	if err := decode(data, MaxStateBytes, head.Rules <= RulesVersion, &s); err != nil {
		return State{}, fmt.Errorf("state.json: %w", err)
	}
	s = normalState(s)
	return s, checkState(s)
}

// DecodeDeployment reads one deployment's file. Known says that the rules of
// its book are known, so that an unknown field is an error.
func DecodeDeployment(env stella.EnvName, data []byte, known bool) (stella.Deployment, error) {
	var d stella.Deployment
	if err := decode(data, MaxDeploymentBytes, known, &d); err != nil {
		return d, err
	}
	if err := checkSchema(d.SchemaVersion); err != nil {
		return d, err
	}
	if d.Environment != env || d.Sequence < 1 || d.ID != DeploymentID(env, d.Sequence) {
		return d, foreign("record %q of environment %q with sequence %d, in the ledger of %s",
			safe.Clip(d.ID, 100), safe.Clip(string(d.Environment), 80), d.Sequence, env)
	}
	return normalDeployment(d), nil
}

// errForeign marks what belongs to another environment.
var errForeign = errors.New("of another environment")

func foreign(format string, args ...any) error {
	return fmt.Errorf("%w: %w: %s", stella.ErrTampered, errForeign, fmt.Sprintf(format, args...))
}

func checkSchema(v int) error {
	switch {
	case v > schemaVersion:
		err := refuse(stella.ErrUnsupported, "schemaVersion %d, and this stella reads up to %d", v, schemaVersion)
		return stella.WithHint(err, "update stella on this machine")
	case v < 1:
		return refuse(stella.ErrInvalid, "schemaVersion %d, want %d", v, schemaVersion)
	}
	return nil
}

// checkState checks what must be true of any state by itself.
func checkState(s State) error {
	l := s.Lock
	switch {
	case s.Fence < 0 || s.Fence > maxFence || s.Sequence < 0 || s.Transitions < 0:
		return refuse(stella.ErrTampered, "fence %d, sequence %d, %d transitions", s.Fence, s.Sequence, s.Transitions)
	case l != nil && (l.ID == "" || l.Fence < 1 || l.Fence > s.Fence):
		return refuse(stella.ErrTampered, "lock %q with fence %d, where the newest is %d", safe.Clip(l.ID, 80), l.Fence, s.Fence)
	case len(s.Holds) > maxHolds || len(s.Machines) > maxTargets || len(s.Owed) > maxTargets || len(s.FailedCommits) > maxFailed:
		return refuse(stella.ErrInvalid, "state.json lists too much")
	}
	return nil
}

// decode reads one strict JSON value: bounded, valid UTF-8, no key twice,
// nothing after it and, where known is set, no unknown field.
func decode(data []byte, most int, known bool, v any) error {
	if len(data) > most {
		return refuse(stella.ErrInvalid, "%d bytes, more than %d", len(data), most)
	}
	compact, err := checkJSON(data)
	if err != nil {
		return err
	}
	return unmarshal(compact, known, v)
}

// unmarshal is decode for bytes that were checked as part of a file.
func unmarshal(data []byte, known bool, v any) error {
	if !known {
		if err := json.Unmarshal(data, v); err != nil {
			return refuse(stella.ErrInvalid, "%s", jsonError(err))
		}
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return refuse(stella.ErrInvalid, "%s", jsonError(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return refuse(stella.ErrInvalid, "something follows the value")
	}
	return nil
}

// jsonError describes a decoding error without quoting the file's values.
func jsonError(err error) string {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s is no %s", safe.Clip(wrong.Field, 80), wrong.Type)
	}
	return safe.Clip(err.Error(), 200)
}
