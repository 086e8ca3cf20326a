package drift

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/stella-ops/stella"
)

// minKeyBytes is as long as a sum: a shorter key makes a MAC weaker (RFC 2104, 3).
const minKeyBytes = sha256.Size

// Key makes MACs of secret values. A target makes one at random and keeps it
// where only its owner reads it; it goes nowhere else, so that nobody who has
// only a MAC can try guesses.
type Key struct{ key []byte }

// NewKey returns the key of at least 32 random bytes. Errors are of class
// stella.ErrInvalid.
func NewKey(random []byte) (Key, error) {
	if len(random) < minKeyBytes {
		return Key{}, fmt.Errorf("%w: a key of %d bytes: want at least %d", stella.ErrInvalid, len(random), minKeyBytes)
	}
	return Key{append([]byte(nil), random...)}, nil
}

// MAC is a secret value in live state that the target does not tell: Compare
// finds it equal to the value that it was made of, and to another MAC of that
// value by the same key. It stands in Fields where the value would, at a pointer
// that Secrets name. No formatting or encoding shows anything of it.
type MAC struct {
	sum string // of the value's canonical JSON
	key Key
}

// MAC returns the MAC of a canonical value. Errors are of class
// stella.ErrInvalid and have nothing of the value in them.
func (k Key) MAC(value any) (MAC, error) {
	sum, err := k.sum(value)
	return MAC{sum, k}, err
}

// ReadMAC returns the MAC that the target kept of a value, as Sum gave it.
func (k Key) ReadMAC(sum string) MAC { return MAC{sum, k} }

// Sum is what a target keeps in place of the value.
func (m MAC) Sum() string { return m.sum }

// Equal reports whether both are MACs of one value by one key.
func (m MAC) Equal(other MAC) bool {
	return len(m.key.key) > 0 && hmac.Equal([]byte(m.sum), []byte(other.sum)) && hmac.Equal(m.key.key, other.key.key)
}

// String implements fmt.Stringer and hides the sum.
func (MAC) String() string { return stella.SecretChanged }

// Format implements fmt.Formatter and hides the sum and the key under every verb.
func (MAC) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, stella.SecretChanged) }

// MarshalText implements encoding.TextMarshaler and hides the sum.
func (MAC) MarshalText() ([]byte, error) { return []byte(stella.SecretChanged), nil }

// Format implements fmt.Formatter and hides the key under every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, stella.SecretChanged) }

// MarshalText implements encoding.TextMarshaler and hides the key.
func (Key) MarshalText() ([]byte, error) { return []byte(stella.SecretChanged), nil }

func (k Key) sum(value any) (string, error) {
	text, err := Canonical(value)
	if err != nil {
		return "", fmt.Errorf("%w: a secret is not JSON", stella.ErrInvalid) // err may quote it
	}
	h := hmac.New(sha256.New, k.key)
	h.Write(text)
	return string(h.Sum(nil)), nil
}

// sealed compares values of which at least one is a MAC; any others are not
// equal.
func sealed(a, b any) bool {
	m, ok := a.(MAC)
	if !ok {
		if m, ok = b.(MAC); !ok {
			return false
		}
		b = a
	}
	if other, ok := b.(MAC); ok {
		return m.Equal(other)
	}
	if len(m.key.key) == 0 || !equal(b, b) { // what is not canonical equals nothing
		return false
	}
	sum, err := m.key.sum(b)
	return err == nil && hmac.Equal([]byte(m.sum), []byte(sum))
}
