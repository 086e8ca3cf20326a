package configrepo

import (
	"encoding/json"
	"fmt"
	"strings"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/strictyaml"
)

// Kinds returns the kinds that Schema knows.
func Kinds() []string {
	return []string{KindProject, KindEnvironment, KindRelease, KindBaseline}
}

// Schema returns the JSON Schema (draft 2020-12) of a kind of file, for editors.
// It is made of the same shapes that read the file; what it can not say, such
// as that two targets have two names, only reading finds. A kind that there is
// not is an error of class ErrNotFound.
func Schema(kind string) ([]byte, error) {
	var s strictyaml.Schema
	switch kind {
	case KindProject:
		s = projectShape().Schema()
	case KindEnvironment:
		s = environmentShape(&Project{}, "").Schema()
	case KindRelease:
		s = releaseShape("").Schema()
	case KindBaseline:
		s = baselineShape("").Schema()
	default:
		return nil, fmt.Errorf("schema of %s: %w; want one of %s", safe.Clip(kind, 40), stella.ErrNotFound, strings.Join(Kinds(), ", "))
	}
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "stella " + kind
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode schema of %s: %w", kind, err)
	}
	return append(text, '\n'), nil
}
