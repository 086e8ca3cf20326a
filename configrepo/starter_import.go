package configrepo

import (
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// importer makes a starter's app of a user's Compose file.
type importer struct {
	o      StarterOptions
	dotEnv map[string]string
	app    *starter
}

// importCompose copies a Compose file and what it refers to inside its
// directory. It is an error only where the file can not be read.
func importCompose(o StarterOptions) (*starter, error) {
	im := &importer{o: o, dotEnv: map[string]string{}, app: &starter{files: map[string][]byte{}}}
	_, problems := parseCompose(composeFile, o.Compose)
	if err := problems.orNil(); err != nil {
		return nil, fmt.Errorf("read the Compose file: %w", err)
	}
	if content, ok := im.read(dotEnvFile); ok {
		im.dotEnv, _ = readEnvFile(dotEnvFile, content, newExpander(nil), lookupIn(nil))
	}
	first := newChecker("", nil, im.read, newExpander(lookupIn(nil)))
	first.check()
	vars := map[string]string{}
	for name := range first.undeclared {
		if variableRE.MatchString(name) {
			vars[name] = im.dotEnv[name]
		}
	}
	// Again, with what the user runs it with: names of files may hold variables.
	second := newChecker("", nil, im.read, newExpander(lookupIn(vars)))
	second.check()
	im.copyFiles(second)
	im.binds(second)
	im.builds(second)
	im.app.project = im.project(second)
	im.release(second, vars)
	return im.app, nil
}

func (im *importer) note(format string, args ...any) {
	im.app.notes = append(im.app.notes, safe.Line(fmt.Sprintf(format, args...)))
}

// read returns a plain file of the user's directory.
func (im *importer) read(name string) ([]byte, bool) {
	if name == composeFile {
		return im.o.Compose, true
	}
	if im.o.ComposeDir == nil {
		return nil, false
	}
	info, err := im.o.ComposeDir.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxComposeBytes {
		return nil, false
	}
	f, err := im.o.ComposeDir.Open(name)
	if err != nil {
		return nil, false
	}
	content, err := io.ReadAll(io.LimitReader(f, maxComposeBytes+1))
	if err != nil || f.Close() != nil || len(content) > maxComposeBytes {
		return nil, false
	}
	return content, true
}

// copyFiles takes what was found to be referred to, but for secrets.
func (im *importer) copyFiles(c *checker) {
	im.app.files[composeFile] = im.o.Compose
	secrets := map[string]bool{}
	for _, s := range c.order {
		for _, f := range fields(child(s.doc.root, "secrets")) {
			if file := child(f.value, "file"); file != nil {
				secrets[path.Join(s.base, c.text(file))] = true
			}
		}
	}
	for _, file := range sortedKeys(c.files) {
		content, ok := im.read(file)
		switch {
		case !ok:
		case secrets[file]:
			im.note("%s was not copied: it is a secret, and secrets do not belong in this repository", file)
		default:
			im.app.files[file] = content
			if file == dotEnvFile || strings.HasSuffix(file, dotEnvFile) {
				im.note("%s was copied, since a service reads it: look for secrets before you commit it", file)
			}
		}
	}
}

// binds says that the user's directory is not where the app runs.
func (im *importer) binds(c *checker) {
	for _, s := range c.order {
		for _, name := range sortedKeys(s.services) {
			for _, v := range items(child(s.services[name].value, "volumes")) {
				text := c.text(v)
				if v.Kind == yaml.MappingNode {
					text = c.text(child(v, "source")) + ":/x"
				}
				m, err := format.ParseVolume(text)
				switch {
				case err != nil || m.Type != types.VolumeTypeBind:
				case im.o.Engine != "" && !path.IsAbs(m.Source) && !strings.HasPrefix(m.Source, "~"):
					im.app.binds = true
					im.note("service %s mounts %s: write it as %s in compose.yaml, which is below bindRoots; what runs is mounted from there already",
						name, m.Source, path.Join(im.o.WorkingDir, m.Source))
				case im.o.Engine != "" && within(path.Clean(m.Source), im.o.WorkingDir):
					im.app.binds = true
				case im.o.Engine != "":
					im.note("service %s mounts %s of the machine: add a directory above it to bindRoots in environment.yaml", name, m.Source)
				default:
					im.note("service %s mounts %s of this directory, which is not on the targets: use configs for files and volumes for data", name, m.Source)
				}
			}
		}
	}
}

// builds says what to do with images that only the engine has.
func (im *importer) builds(c *checker) {
	if im.o.Engine == "" {
		return
	}
	for _, s := range c.order {
		for _, name := range sortedKeys(s.services) {
			if child(s.services[name].value, "build") != nil {
				im.note("service %s is built on the machine, and a release is digests: push its image with 'docker tag' and 'docker push', write that as its image in place of build, "+
					"and add it to release.yaml; what runs is not restarted by it", name)
			}
		}
	}
}

// release writes release.yaml: a component for each service with an image, and
// the variables.
func (im *importer) release(c *checker, vars map[string]string) {
	var b strings.Builder
	b.WriteString("# 'stella validate --fix' pins the tags to their digests.\n" +
		"apiVersion: stella/v1\nkind: Release\nversion: 1.0.0\ncomponents:")
	images := map[string]stella.Artifact{}
	for _, s := range c.order {
		for _, name := range sortedKeys(s.services) {
			_, known := images[name]
			if _, err := stella.ParseName(name); !s.loaded || known || err != nil {
				continue
			}
			if a, ok := im.component(s.services[name], vars); ok {
				images[name] = a
			}
		}
	}
	for _, name := range sortedKeys(images) {
		fmt.Fprintf(&b, "\n  %s: %s", yamlName(name), strconv.Quote(images[name].String()))
	}
	if len(images) == 0 {
		b.WriteString(" {}")
	}
	b.WriteString("\n")
	im.variables(&b, vars)
	im.app.files["release.yaml"] = []byte(b.String())
}

// variables writes the names that the app needs, with the values that can not
// be secret.
func (im *importer) variables(b *strings.Builder, vars map[string]string) {
	if len(vars) > 0 {
		b.WriteString("variables:\n")
	}
	for _, name := range sortedKeys(vars) {
		value := vars[name]
		if !plainValue(name, value) {
			if value != "" {
				im.note("variable %s: its value was not copied from %s, as it may be secret: set it in release.yaml or of a target", name, dotEnvFile)
			} else {
				im.note("variable %s has no value: set it in release.yaml or of a target", name)
			}
			value = ""
		}
		fmt.Fprintf(b, "  %s: %s\n", yamlName(name), strconv.Quote(value))
	}
}

// component returns the image of a service, spelled out.
func (im *importer) component(service field, vars map[string]string) (stella.Artifact, bool) {
	name, image := service.key.Value, child(service.value, "image")
	if image == nil || image.Kind != yaml.ScalarNode || child(service.value, "build") != nil {
		return stella.Artifact{}, false
	}
	if child(service.value, "profiles") != nil {
		im.note("service %s is not run: it has profiles", name)
		return stella.Artifact{}, false
	}
	text, err := newExpander(lookupIn(vars)).expand(image.Value)
	if err != nil {
		im.note("service %s: its image is not known: %v", name, err)
		return stella.Artifact{}, false
	}
	full := fullImage(text)
	a, err := stella.ParseArtifact(full)
	if err != nil {
		im.note("service %s: its image can not be read: add it to release.yaml", name)
		return stella.Artifact{}, false
	}
	return a, true
}

// fullImage spells out what Docker adds to the name of an image: its registry,
// "library" and the tag "latest"; see
// https://github.com/distribution/reference/blob/main/normalize.go.
func fullImage(image string) string {
	name, digest, pinned := strings.Cut(image, "@")
	registry, rest, ok := strings.Cut(name, "/")
	if !ok || !strings.ContainsAny(registry, ".:") && registry != "localhost" {
		registry, rest = "docker.io", name
	}
	if registry == "docker.io" && !strings.Contains(rest, "/") {
		rest = "library/" + rest
	}
	if !strings.Contains(rest, ":") && !pinned {
		rest += ":latest"
	}
	if pinned {
		rest += "@" + digest
	}
	return registry + "/" + rest
}

var (
	plainValueRE = regexp.MustCompile(`^(true|false|[0-9]{1,5}|v?[0-9]+(\.[0-9]+){1,3}(-[a-z0-9.]{1,20})?)$`)
	secretNameRE = regexp.MustCompile(`(?i)(pass|pwd|secret|token|key|cred|auth|pin|salt)`)
)

// plainValue reports whether a value of a .env file can not be a secret: it is
// a switch, a port or a version, and not named as one.
func plainValue(name, value string) bool {
	return plainValueRE.MatchString(value) && !secretNameRE.MatchString(name)
}
