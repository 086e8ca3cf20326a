package docker

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

// maxSpecBytes bounds a label that is read back.
const maxSpecBytes = 1 << 20

// specOf returns what the label tells of the fields that were asked for: nothing
// secret, nothing that the container tells itself. Contents of configs are their
// digests, those of secrets are not told at all, and variables are their names.
func specOf(fields map[string]any) map[string]any {
	out := maps.Clone(fields)
	if vars, ok := fields["environment"].(map[string]any); ok {
		names := make(map[string]any, len(vars))
		for name := range vars {
			names[name] = nil
		}
		out["environment"] = names
	}
	for _, name := range []string{"configs", "secrets"} {
		if files, ok := fields[name].(map[string]any); ok {
			out[name] = withoutContents(files, name == "secrets")
		}
	}
	return out
}

func withoutContents(files map[string]any, secret bool) map[string]any {
	out := make(map[string]any, len(files))
	for path, value := range files {
		f, _ := value.(map[string]any)
		kept := map[string]any{}
		for _, key := range []string{"digest", "mode", "uid", "gid"} {
			if v, ok := f[key]; ok && (key != "digest" || !secret) {
				kept[key] = v
			}
		}
		out[path] = kept
	}
	return out
}

// specLabel is the value of labelSpec.
func specLabel(fields map[string]any) (string, error) {
	text, err := drift.Canonical(specOf(fields))
	if err == nil && len(text) > maxSpecBytes {
		err = fmt.Errorf("%w: the fields come to more than %d bytes", stella.ErrInvalid, maxSpecBytes)
	}
	return string(text), err
}

// parseSpec is the inverse of specLabel. A label can be made by anyone who may
// make containers: what is not ours to read is of class stella.ErrTampered.
func parseSpec(label string) (map[string]any, error) {
	var fields map[string]any
	err := errors.New("it is too long")
	if len(label) <= maxSpecBytes {
		err = json.Unmarshal([]byte(label), &fields)
	}
	if err == nil && fields == nil {
		err = errors.New("it is no mapping")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read label %s: %w", stella.ErrTampered, labelSpec, err)
	}
	return fields, nil
}

// specDigest is the value of labelSpecDigest: equal fields, but for what secrets
// hold, have equal digests. A digest of a secret would let anyone try guesses.
func specDigest(fields map[string]any) (stella.Digest, error) {
	out := maps.Clone(fields)
	if files, ok := fields["secrets"].(map[string]any); ok {
		out["secrets"] = withoutContents(files, true)
	}
	return drift.Digest(out)
}
