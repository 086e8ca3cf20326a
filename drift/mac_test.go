package drift_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

func key(t testing.TB, seed byte) drift.Key {
	t.Helper()
	k, err := drift.NewKey(bytes.Repeat([]byte{seed}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// failer is a test of testing or of rapid.
type failer interface {
	Helper()
	Fatal(args ...any)
}

func mac(t failer, k drift.Key, v any) drift.MAC {
	t.Helper()
	m, err := k.MAC(v)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// with is a state whose one service has the secret value at /environment/PW.
func with(v any) stella.State {
	return stella.State{Resources: []stella.Resource{{
		ID: "service/api", Fields: map[string]any{"environment": map[string]any{"PW": v}}, Secrets: []string{"/environment/PW"},
	}}}
}

func TestASecretThatIsNotToldIsComparedByItsMAC(t *testing.T) {
	k := key(t, 1)
	kept := k.ReadMAC(mac(t, k, "correct horse").Sum()) // as a target reads it back
	for _, tt := range []struct {
		name          string
		desired, live any
		same          bool
	}{
		{"the value that it was made of", "correct horse", kept, true},
		{"another value", "battery staple", kept, false},
		{"a MAC of the same value", mac(t, k, "correct horse"), kept, true},
		{"a MAC of another value", mac(t, k, "battery staple"), kept, false},
		{"a MAC by another key", mac(t, key(t, 2), "correct horse"), kept, false},
		{"a MAC by another key that looks the same", key(t, 2).ReadMAC(kept.Sum()), kept, false},
		{"its own text", stella.SecretChanged, kept, false},
		{"its own sum", kept.Sum(), kept, false},
		{"nothing", nil, kept, false},
		{"a MAC of nothing", nil, mac(t, k, nil), true},
		{"a MAC of a whole map", map[string]any{"a": "1", "b": 2.0}, mac(t, k, map[string]any{"b": 2.0, "a": "1"}), true},
		{"a MAC of a list in another order", []any{"a", "b"}, mac(t, k, []any{"b", "a"}), false},
		{"a driver's number, which is not canonical", 1, mac(t, k, 1.0), false},
		{"no MAC at all", "", drift.MAC{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, pair := range [][2]any{{tt.desired, tt.live}, {tt.live, tt.desired}} {
				got := drift.Compare(with(pair[0]), with(pair[1]), nil, now)
				if (len(got) == 0) != tt.same {
					t.Fatalf("changes: %v", lines(got))
				}
				for _, c := range got {
					if c.Path != "/environment/PW" || !c.Secret || c.Desired != stella.SecretChanged || c.Live != stella.SecretChanged {
						t.Errorf("change %+v", c)
					}
				}
			}
		})
	}
}

func TestNoSinkShowsAMACOrItsKey(t *testing.T) {
	k := key(t, 'k')
	m := mac(t, k, "correct horse")
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "mac", m, "key", k)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "mac", m, "key", k)
	text, err := json.Marshal([]any{m, k, map[string]any{"m": m}})
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := drift.Canonical(map[string]any{"m": m})
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(text) + string(canonical)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		all += fmt.Sprintf(verb+verb, m, k) + fmt.Sprintf(verb, []any{m, k})
	}
	for _, canary := range []string{"kkkk", "107 107 107", m.Sum()[:8], fmt.Sprintf("%x", m.Sum()[:8]), fmt.Sprintf("%X", m.Sum()[:8]), "correct"} {
		if strings.Contains(all, canary) {
			t.Errorf("%q shows in %s", canary, all)
		}
	}
	if diff := cmp.Diff(with(m), with(m)); diff != "" {
		t.Errorf("a MAC differs from itself\n%s", diff)
	}
}

func TestAKeyIsLongAndASecretIsJSON(t *testing.T) {
	if _, err := drift.NewKey(make([]byte, 31)); !errors.Is(err, stella.ErrInvalid) {
		t.Errorf("a short key: %v", err)
	}
	if _, err := key(t, 1).MAC(map[string]any{"canary": math.NaN()}); !errors.Is(err, stella.ErrInvalid) || strings.Contains(err.Error(), "canary") {
		t.Errorf("what is not JSON: %v", err)
	}
	random := bytes.Repeat([]byte{7}, 32)
	k, err := drift.NewKey(random)
	if err != nil {
		t.Fatal(err)
	}
	before := mac(t, k, "x")
	clear(random)
	if !before.Equal(mac(t, k, "x")) {
		t.Error("the key is the caller's bytes")
	}
}

// A target that does not tell secrets shows the differences of one that does.
func TestMACsTellWhatValuesTell(t *testing.T) {
	k := key(t, 3)
	rapid.Check(t, func(t *rapid.T) {
		d, l := genPair(t)
		pointers := genPointers(t, d, l)
		for _, s := range []*stella.State{&d, &l} {
			for i := range s.Resources {
				s.Resources[i].Secrets = pointers
			}
		}
		hidden := clone(l)
		for i, r := range l.Resources {
			for _, p := range pointers {
				// One below a list is no place of its own, and one below a secret is in it.
				if _, ok := drift.Lookup(hidden.Resources[i].Fields, p); ok && inMaps(r.Fields, p) {
					value, _ := drift.Lookup(r.Fields, p)
					set(hidden.Resources[i].Fields, p, mac(t, k, value))
				}
			}
		}
		want, got := drift.Compare(d, l, nil, now), drift.Compare(d, hidden, nil, now)
		if diff := cmp.Diff(lines(want), lines(got)); diff != "" {
			t.Fatalf("changes (-values +MACs)\n%s", diff)
		}
	})
}

// inMaps reports whether a pointer leads through maps only.
func inMaps(v any, pointer string) bool {
	segments, err := drift.ParsePointer(pointer)
	if err != nil {
		return false
	}
	for _, s := range segments {
		m, ok := v.(map[string]any)
		if !ok {
			return false
		}
		v = m[s]
	}
	return true
}
