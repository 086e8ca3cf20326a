package configrepo

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
	"github.com/stella-ops/stella/internal/safe"
)

// Where a secret is mounted whose service says no more than its name, and what
// its service's field is named.
const (
	secretMounts = "/run/secrets"
	secretsField = "secrets"
)

// readSecrets reads the files of an environment's secrets directory, if there is
// one.
func readSecrets(ctx context.Context, t Tree, dir string) (SecretFiles, error) {
	if _, err := lookup(ctx, t, dir); errors.Is(err, stella.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	files, err := ReadFiles(ctx, t, dir)
	if err != nil {
		return nil, err
	}
	all := make(SecretFiles, len(files))
	for _, f := range files {
		all[f.Path] = safe.Secret(f.Content)
	}
	return all, nil
}

// secret checks an entry of the secrets of a Compose file. A file below app/ is
// refused: it would be rolled back, and be part of the release's content.
func (c *checker) secret(s *composeSource, n *yaml.Node, field string) {
	file := child(n, "file")
	if file == nil || c.secretsDir == "" {
		c.content(s, n, field)
		return
	}
	field += ".file"
	value, err := c.vars.expand(file.Value)
	if file.Kind != yaml.ScalarNode || err != nil {
		return // reported where all values are looked at
	}
	fix := "put the file below " + c.secretsDir + " and write ../secrets/FILE"
	if what := strangePath(value); what != "" {
		c.fail(s, file, field, what, fix)
		return
	}
	at := path.Join(s.base, value)
	_, there := c.secrets[at]
	switch {
	case !strings.HasPrefix(at, c.secretsDir+"/"):
		c.fail(s, file, field, "is not below "+c.secretsDir, fix)
	case !there:
		c.fail(s, file, field, "there is no such file", fix)
	}
}

// secrets renders the contents of secrets by where they are mounted: as configs,
// but for a digest, which would tell of a short one.
func (s *service) secrets() {
	if !s.has(secretsField) {
		return
	}
	all := map[string]any{}
	for _, c := range s.typed.Secrets {
		to := secretTarget(types.FileReferenceConfig(c))
		content, ok := s.secret(c.Source)
		if !ok {
			continue
		}
		if _, twice := all[to]; twice {
			s.fail("mounts two secrets at one path", "give them targets of their own", secretsField)
		}
		entry := map[string]any{"mode": defaultConfigMode, "uid": c.UID, "gid": c.GID}
		if c.Mode != nil {
			entry["mode"] = fmt.Sprintf("%04o", int64(*c.Mode))
		}
		if utf8.ValidString(content) {
			entry["content"] = content
		} else {
			entry["contentBase64"] = base64.StdEncoding.EncodeToString([]byte(content))
		}
		all[to] = entry
	}
	if len(all) > 0 {
		s.fields[secretsField] = all
	}
}

func secretTarget(c types.FileReferenceConfig) string {
	to := c.Target
	if to == "" {
		to = c.Source
	}
	if !path.IsAbs(to) {
		to = path.Join(secretMounts, path.Join("/", to))
	}
	return path.Clean(to)
}

// secret returns what a secret of the app holds.
func (s *service) secret(name string) (string, bool) {
	c := s.m.project.Secrets[name]
	fail := func(what, fix string) (string, bool) {
		n, _ := find(s.m.sources[0].doc.root, secretsField, name)
		s.r.problems = append(s.r.problems, problemAt(s.m.sources[0].doc.path, n, joinField(secretsField, name), what, fix))
		return "", false
	}
	const fix = "keep the file below the environment's secrets directory and name it with file:"
	var text string
	switch {
	case bool(c.External):
		return fail("is external, which is not supported", fix)
	case c.TemplateDriver != "" || c.Driver != "":
		return fail("has a driver, which is not supported", "remove it")
	case c.Environment != "":
		text = s.m.vars[c.Environment]
	case c.File != "":
		file, ok := s.r.scratch.rel(c.File)
		content, there := s.r.e.Secrets[file]
		if !ok || !there {
			return fail("is not a file of the environment's secrets", fix)
		}
		text = content.Reveal()
	}
	if s.r.content += len(text); s.r.content > maxContentBytes {
		return fail(fmt.Sprintf("brings the contents of configs and secrets to more than %d bytes", maxContentBytes), "keep large files in the image")
	}
	return text, true
}

// secretPointers returns the JSON Pointers of what is secret in the fields of a
// service, sorted.
func secretPointers(fields map[string]any) []string {
	all, _ := fields[secretsField].(map[string]any)
	var pointers []string
	for _, to := range sortedKeys(all) {
		entry, _ := all[to].(map[string]any)
		for _, member := range []string{"content", "contentBase64"} {
			if _, is := entry[member]; is {
				pointers = append(pointers, drift.Pointer(secretsField, to, member))
			}
		}
	}
	return pointers
}

// withoutSecrets returns resources without the values of their secrets: where
// they are mounted stays.
func withoutSecrets(all []stella.Resource) []stella.Resource {
	bare := make([]stella.Resource, len(all))
	for i, r := range all {
		bare[i] = r
		secrets, ok := r.Fields[secretsField].(map[string]any)
		if !ok || len(r.Secrets) == 0 {
			continue
		}
		mounted := map[string]any{}
		for to, one := range secrets {
			entry, _ := one.(map[string]any)
			entry = maps.Clone(entry)
			delete(entry, "content")
			delete(entry, "contentBase64")
			mounted[to] = entry
		}
		bare[i].Fields = maps.Clone(r.Fields)
		bare[i].Fields[secretsField] = mounted
		bare[i].Secrets = nil // a value that is text at last is the same secret
	}
	return bare
}
