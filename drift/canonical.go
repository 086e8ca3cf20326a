package drift

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/stella-ops/stella"
)

// Value returns v as a canonical value: only nil, bool, float64, string, []any
// and map[string]any, as encoding/json would read what it writes for v. Whole
// numbers beyond 2^53 lose digits. Errors are of class stella.ErrInvalid.
func Value(v any) (any, error) {
	data, err := encode(v)
	if err != nil {
		return nil, err
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("%w: not JSON: %w", stella.ErrInvalid, err)
	}
	return withoutMinusZero(out), nil
}

// Canonical returns v in canonical JSON: keys sorted by their bytes, no space
// between tokens, no HTML escapes, numbers as float64 in their shortest form.
// Values that Compare finds equal have equal canonical JSON. Errors are of
// class stella.ErrInvalid.
func Canonical(v any) ([]byte, error) {
	value, err := Value(v)
	if err != nil {
		return nil, err
	}
	return encode(value)
}

// Digest returns the SHA-256 of the canonical JSON of the values, one per
// line. What goes in must hold references where it would hold secrets, see
// Redact: a digest that is kept in Git lets anyone try guesses. Errors are of
// class stella.ErrInvalid.
func Digest(values ...any) (stella.Digest, error) {
	h := sha256.New()
	for _, v := range values {
		line, err := Canonical(v)
		if err != nil {
			return "", err
		}
		h.Write(append(line, '\n'))
	}
	return stella.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), nil
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: not JSON: %w", stella.ErrInvalid, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// withoutMinusZero makes equal numbers look equal: JSON can write -0. It
// changes v, which nobody else has.
func withoutMinusZero(v any) any {
	switch v := v.(type) {
	case float64:
		if v == 0 {
			return float64(0)
		}
	case []any:
		for i := range v {
			v[i] = withoutMinusZero(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = withoutMinusZero(v[k])
		}
	}
	return v
}
