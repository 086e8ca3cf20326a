package git

import (
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
)

// MaxRefBytes is the longest ref name that is spoken of: a file name of a ref
// kept loose, with its ".lock", must fit most file systems.
const MaxRefBytes = 240

// CheckRef checks a full ref name by the rules of git-check-ref-format(1), and
// further that it is below refs/ and has at most MaxRefBytes. Errors are of
// class stella.ErrInvalid.
func CheckRef(name string) error {
	bad := func(why string) error {
		return fmt.Errorf("%w: ref name %q: %s", stella.ErrInvalid, clip(name), why)
	}
	rest, ok := strings.CutPrefix(name, "refs/")
	switch {
	case !ok || !strings.Contains(rest, "/"):
		return bad("want refs/ and at least two more parts")
	case len(name) > MaxRefBytes:
		return bad("it is too long")
	case strings.Contains(name, "..") || strings.Contains(name, "@{"):
		return bad("it has .. or @{")
	}
	for _, r := range name {
		if r <= ' ' || r == 0x7f || r == 0xfffd || strings.ContainsRune(`~^:?*[\`, r) {
			return bad("it has a character that is not allowed")
		}
	}
	for part := range strings.SplitSeq(rest, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.HasPrefix(part, "-") ||
			strings.HasSuffix(part, ".lock") || strings.HasSuffix(part, ".") {
			return bad("it has a part that is empty, starts with . or -, or ends with . or .lock")
		}
	}
	return nil
}

// RefSafe encodes any name as one component of a ref. It is injective also
// where file names do not tell upper from lower case, and a DNS label stays as
// it is. RefUnsafe undoes it.
func RefSafe(name string) string {
	if name == "" {
		return "_"
	}
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if plainRefByte(c) && (c != '-' || i > 0) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return b.String()
}

// RefUnsafe returns the name that RefSafe encoded, and whether it did.
func RefUnsafe(ref string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(ref); i++ {
		if ref[i] != '_' {
			b.WriteByte(ref[i])
			continue
		}
		var c byte
		if ref == "_" {
			break
		}
		if i+3 > len(ref) {
			return "", false
		}
		if _, err := fmt.Sscanf(ref[i+1:i+3], "%02x", &c); err != nil {
			return "", false
		}
		b.WriteByte(c)
		i += 2
	}
	// Only what RefSafe itself writes is accepted: every name has one encoding.
	return b.String(), RefSafe(b.String()) == ref
}

func plainRefByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
}
