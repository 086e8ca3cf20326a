package configrepo

import (
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/strictyaml"
)

const nameWant = "want 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends"

// The patterns are in the syntax that RE2 and ECMA 262 share: they are published
// in the schemas.
var (
	nameRE     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	versionRE  = regexp.MustCompile(`^([0-9A-Za-z][0-9A-Za-z._+-]*)?$`)
	variableRE = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	labelRE    = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$`)
	dirRE      = regexp.MustCompile(`^(\.?[A-Za-z0-9_@+][A-Za-z0-9._@+-]*(/\.?[A-Za-z0-9_@+][A-Za-z0-9._@+-]*)*)?$`)
	absoluteRE = regexp.MustCompile(`^/[^\x00-\x1f\x7f-\x9f]*$`)
	addressRE  = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)?$`)
	objectRE   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	digestRE   = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	imageRE    = regexp.MustCompile(`^[A-Za-z0-9.:[\]-]+/[a-z0-9._/-]+(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]{64})?$`) // stella.ParseArtifact has the rest
	deployRE   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?-[1-9][0-9]{0,17}$`)
)

// header is what every file of ours begins with.
func header[T any](kind string) []strictyaml.Field[T] {
	nowhere := func(*T) *string { return new(string) }
	return []strictyaml.Field[T]{
		strictyaml.Required("apiVersion", "The version of this file's format.", strictyaml.Enum(APIVersion), nowhere),
		strictyaml.Required("kind", "What this file is.", strictyaml.Enum(kind), nowhere),
	}
}

func nameShape() strictyaml.Shape[string] {
	return strictyaml.Text(strictyaml.TextRule{Pattern: nameRE, What: "is not a name", Want: nameWant, Most: stella.MaxNameBytes})
}

const (
	versionWant = "want a version of letters, digits and . _ + -, such as 2.4.0"
	maxVersion  = 128
)

func versionShape() strictyaml.Shape[string] {
	return strictyaml.Text(strictyaml.TextRule{
		Pattern: versionRE, What: "is not a version", Want: versionWant, Most: maxVersion,
	})
}

func variableShape() strictyaml.Shape[string] {
	return strictyaml.Text(strictyaml.TextRule{
		Pattern: variableRE, What: "is not the name of a variable", Want: "want letters, digits and _, with no digit first", Most: 128,
	})
}

func variablesShape() strictyaml.Shape[map[string]string] {
	return strictyaml.Map(variableShape(), strictyaml.Block(32<<10))
}

func labelsShape() strictyaml.Shape[map[string]string] {
	key := strictyaml.Text(strictyaml.TextRule{
		Pattern: labelRE, What: "is not the name of a label",
		Want: "want letters, digits and . _ / -, with a letter or digit at both ends", Most: 128,
	})
	return strictyaml.Map(key, strictyaml.Line(256))
}

// dirShape is a directory from the top of the repository.
func dirShape(want string) strictyaml.Shape[string] {
	const what = "is not a directory within the repository"
	text := strictyaml.Text(strictyaml.TextRule{Pattern: dirRE, What: what, Want: want, Most: 512})
	return text.Check(func(v strictyaml.Value, s *string) {
		if *s != "" && slices.ContainsFunc(strings.Split(*s, "/"), isBadName) {
			v.Problem(what, want)
		}
	})
}

// absoluteShape is a clean absolute path on a machine.
func absoluteShape(want string) strictyaml.Shape[string] {
	text := strictyaml.Text(strictyaml.TextRule{Pattern: absoluteRE, What: "is not an absolute path", Want: want, Most: 512})
	return text.Check(func(v strictyaml.Value, s *string) {
		if path.Clean(*s) != *s {
			v.Problem("is not a clean path", want+", without . and .., double slashes and one at the end")
		}
	})
}

const imageWant = "want registry/repository:tag@sha256:…, with the registry's host spelled out and the repository in lower case"

func imageShape() strictyaml.Shape[stella.Artifact] {
	return strictyaml.Convert(
		strictyaml.Text(strictyaml.TextRule{Pattern: imageRE, What: "is not an image reference", Want: imageWant, Most: 512}),
		func(v strictyaml.Value, s string) (stella.Artifact, bool) {
			a, err := stella.ParseArtifact(s)
			if err != nil {
				v.Problem("is not an image reference", imageWant)
			}
			return a, err == nil
		})
}

func imagesShape() strictyaml.Shape[map[string]stella.Artifact] {
	return strictyaml.Map(nameShape(), imageShape())
}

func envNameShape(is stella.EnvName, whose string) strictyaml.Shape[stella.EnvName] {
	return strictyaml.Convert(nameShape(), func(v strictyaml.Value, s string) (stella.EnvName, bool) {
		if is != "" && s != string(is) {
			v.Problem("is not the name of "+whose, "want "+string(is))
		}
		return stella.EnvName(s), true
	})
}

// isHostPort reports host:port with a port from 1 to 65535.
func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(host, " /@#?%\\") {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 1 && n <= 65535
}

// checkURL says what is wrong with a URL of one of the schemes; it quotes
// nothing of it.
func checkURL(s string, schemes ...string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "":
		return "is not a URL"
	case !slices.Contains(schemes, u.Scheme):
		return "has a scheme that is not accepted"
	case u.Opaque != "":
		return "is not a URL"
	}
	if _, has := u.User.Password(); has {
		return "holds a password"
	}
	if port := u.Port(); port != "" && !isHostPort("x:"+port) {
		return "has a port that is out of range"
	}
	return ""
}

// twice reports a text that an earlier item of a list has.
func twice(list strictyaml.Value, texts []string, at func(item strictyaml.Value) strictyaml.Value) {
	seen := map[string]int{}
	for i, s := range texts {
		v := at(list.Index(i))
		if first, is := seen[s]; is && s != "" {
			v.Problem("is already in line "+strconv.Itoa(at(list.Index(first)).Line()), "keep one of them, or rename it")
			continue
		}
		seen[s] = i
	}
}

func itself(v strictyaml.Value) strictyaml.Value { return v }
