package drift

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/stella-ops/stella"
)

// Canonical returns v as canonical JSON.
func Canonical(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Digest returns the SHA-256 of the canonical JSON of the values, one per line.
func Digest(values ...any) (stella.Digest, error) {
	h := sha256.New()
	for _, v := range values {
		c, err := Canonical(v)
		if err != nil {
			return "", err
		}
		h.Write(append(c, '\n'))
	}
	return stella.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), nil
}
