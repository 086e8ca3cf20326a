package imagetree

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// The bounds of a name. Linux allows 255 bytes for one part and 4096 for a path
// with its end (limits.h); the depth is ours.
const (
	MaxDepth     = 64
	maxPartBytes = 255
	maxPathBytes = 4095
	maxLinks     = 40 // as the kernel follows in one resolution (path_resolution(7))
)

// ParseName checks the name of an archive's entry and returns its parts, none
// for the root ("." or "./"). It is strict: one "./" before and one "/" after a
// clean relative path is all that is allowed. Errors are of class
// stella.ErrInvalid.
func ParseName(s string) ([]string, error) {
	clean := strings.TrimPrefix(s, "./")
	if len(clean) > 1 {
		clean = strings.TrimSuffix(clean, "/")
	}
	if clean == "" && s != "" || clean == "." {
		return nil, nil
	}
	if path.Clean(clean) != clean || path.IsAbs(clean) {
		return nil, badName(s, "is no clean relative path")
	}
	return splitName(s, clean)
}

// ParseLayerName is ParseName for the layers of images, in which tools write
// "/", "/etc/passwd", "./etc//passwd" and "./././etc": all are below the image's
// root. Parts that climb are still refused.
func ParseLayerName(s string) ([]string, error) {
	parts := make([]string, 0, 8)
	for part := range strings.SplitSeq(s, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 {
		if s == "" {
			return nil, badName(s, "is empty")
		}
		return nil, nil
	}
	return splitName(s, strings.Join(parts, "/"))
}

func splitName(s, clean string) ([]string, error) {
	if why := badText(clean); why != "" {
		return nil, badName(s, why)
	}
	parts := strings.Split(clean, "/")
	if len(parts) > MaxDepth {
		return nil, badName(s, "is too deep")
	}
	for _, part := range parts {
		switch {
		case part == "..":
			return nil, badName(s, "climbs out of its directory")
		case len(part) > maxPartBytes:
			return nil, badName(s, "has a part that is too long")
		}
	}
	return parts, nil
}

// ParseTarget checks the target of a symbolic link, which may climb and may be
// absolute. Errors are of class stella.ErrInvalid.
func ParseTarget(s string) error {
	if s == "" {
		return badName(s, "is an empty link target")
	}
	if why := badText(s); why != "" {
		return badName(s, why)
	}
	if strings.Count(s, "/") > 2*MaxDepth {
		return badName(s, "is too deep")
	}
	return nil
}

// badText says what is wrong with the characters of a name, if anything.
func badText(s string) string {
	switch {
	case len(s) > maxPathBytes:
		return "is too long"
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "has a control character"
	case hasBackslash(s):
		return "has a backslash"
	}
	return ""
}

// hasBackslash finds a backslash that is not systemd's escape of one byte,
// "\x2d", which names of its units have in every image with systemd in it
// (systemd-escape(1)). Any other one is a path separator somewhere else.
func hasBackslash(s string) bool {
	for {
		_, rest, found := strings.Cut(s, `\`)
		if !found {
			return false
		}
		if len(rest) < 3 || rest[0] != 'x' || !isHex(rest[1]) || !isHex(rest[2]) {
			return true
		}
		s = rest[3:]
	}
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

func badName(name, why string) error {
	return fmt.Errorf("%w: %q %s", stella.ErrInvalid, safe.Clip(name, 80), why)
}
