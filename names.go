package stella

import (
	"fmt"
	"regexp"
)

// EnvName is the name of an environment, equal to its directory below envs/.
// The zero value names nothing and is not valid.
type EnvName string

// Digest is a content digest in the form of the OCI image specification,
// "sha256:" and 64 lower-case hexadecimal digits. The zero value means that no
// digest is known.
type Digest string

// ResourceID names a resource within one target: "service/api", "volume/data".
type ResourceID string

// MaxNameBytes is the longest name that ParseName accepts: a DNS label.
const MaxNameBytes = 63

var (
	nameRE   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// ParseName checks the name of an environment, target, component or volume: a
// DNS label (RFC 1123). It returns an error of class ErrInvalid.
func ParseName(s string) (string, error) {
	if !nameRE.MatchString(s) {
		return "", fmt.Errorf("%w: name %q: want 1 to %d of a-z, 0-9 and -, with a letter or digit at both ends", ErrInvalid, s, MaxNameBytes)
	}
	return s, nil
}

// ParseDigest checks a digest; only sha256 is accepted. It returns an error of
// class ErrInvalid.
func ParseDigest(s string) (Digest, error) {
	if !digestRE.MatchString(s) {
		return "", fmt.Errorf("%w: digest %q: want sha256: and 64 hexadecimal digits", ErrInvalid, s)
	}
	return Digest(s), nil
}

// Hex returns the hexadecimal part of the digest, empty for the zero value.
func (d Digest) Hex() string {
	if len(d) <= len("sha256:") {
		return ""
	}
	return string(d[len("sha256:"):])
}

// Short returns the first twelve hexadecimal digits, for people.
func (d Digest) Short() string {
	hex := d.Hex()
	return hex[:min(12, len(hex))]
}
