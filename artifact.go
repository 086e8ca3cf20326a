package stella

import (
	"fmt"
	"regexp"
	"strings"
)

// Artifact is a reference to an OCI image. Once committed it always carries a
// digest: "registry/repository:tag@sha256:…". The zero value refers to nothing.
type Artifact struct {
	Registry   string // host, with a port where it has one: "127.0.0.1:5000"
	Repository string // path within the registry: "shop/api"
	Tag        string // may be empty; never decides what runs
	Digest     Digest // empty until resolved
}

var (
	registryRE   = regexp.MustCompile(`^(localhost|[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+|\[[0-9a-fA-F:]+\]|[a-zA-Z0-9.-]+:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5})$`)
	repositoryRE = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagRE        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
)

// maxReferenceBytes bounds a reference as the distribution specification does
// for its name part, with room for tag and digest.
const maxReferenceBytes = 512

// ParseArtifact parses "registry/repository[:tag][@digest]". The registry must
// be spelled out: nothing defaults to a public hub. The grammar is that of the
// OCI distribution specification. Errors are of class ErrInvalid.
func ParseArtifact(s string) (Artifact, error) {
	bad := func(why string) (Artifact, error) {
		return Artifact{}, fmt.Errorf("%w: image %q: %s", ErrInvalid, clip(s), why)
	}
	if len(s) > maxReferenceBytes {
		return bad("too long")
	}
	var a Artifact
	rest, digest, hasDigest := strings.Cut(s, "@")
	if hasDigest {
		d, err := ParseDigest(digest)
		if err != nil {
			return bad("want @sha256: and 64 hexadecimal digits")
		}
		a.Digest = d
	}
	registry, path, ok := strings.Cut(rest, "/")
	if !ok || !registryRE.MatchString(registry) {
		return bad("want registry/repository:tag, with the registry's host spelled out")
	}
	a.Registry = registry
	a.Repository, a.Tag, ok = strings.Cut(path, ":")
	if ok && !tagRE.MatchString(a.Tag) {
		return bad("the tag is not valid")
	}
	if !repositoryRE.MatchString(a.Repository) {
		return bad("the repository is not valid; it is lower case")
	}
	if a.Tag == "" && a.Digest == "" {
		return bad("want a tag or a digest")
	}
	return a, nil
}

// String returns the reference as ParseArtifact reads it.
func (a Artifact) String() string {
	var b strings.Builder
	b.WriteString(a.Registry + "/" + a.Repository)
	if a.Tag != "" {
		b.WriteString(":" + a.Tag)
	}
	if a.Digest != "" {
		b.WriteString("@" + string(a.Digest))
	}
	return b.String()
}

// MarshalText implements encoding.TextMarshaler with String.
func (a Artifact) MarshalText() ([]byte, error) {
	if a == (Artifact{}) {
		return nil, nil
	}
	return []byte(a.String()), nil
}

// UnmarshalText implements encoding.TextUnmarshaler with ParseArtifact.
func (a *Artifact) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*a = Artifact{}
		return nil
	}
	parsed, err := ParseArtifact(string(text))
	if err != nil {
		return err
	}
	*a = parsed
	return nil
}

// Release is the component → artifact map of one environment, with a version.
type Release struct {
	Version    string              // as people call it; may be empty
	Components map[string]Artifact // by component; every one has a digest once committed
}

func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
