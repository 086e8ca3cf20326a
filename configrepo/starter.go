package configrepo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// StarterOptions say what Starter writes.
type StarterOptions struct {
	// Name is the project's, a DNS label.
	Name string
	// Environments are the names of the environments. The default is staging and
	// production, and production alone with a Compose file.
	Environments []string
	// Compose is a Compose file of the user's, which becomes the app. Empty: an
	// app of one service "web".
	Compose []byte
	// ComposeDir is where what the Compose file refers to is read: nothing
	// outside it, and no symbolic link. Nil: there is nothing.
	ComposeDir *os.Root
	// Engine is the container engine that the Compose file runs on already, as
	// targets name it; empty for a bare host.
	Engine string
	// WorkingDir is the absolute path of the Compose file's directory. It is what
	// Compose names the project by, and what relative bind mounts are below.
	WorkingDir string
}

// StarterFiles are a small config repository.
type StarterFiles struct {
	Files map[string][]byte // by path; they validate, but for what Notes say
	Notes []string          // what the user has to do or to look at, fit for a terminal
}

// placeholderDigest stands for the digest of an image that nobody pushed yet.
const placeholderDigest = stella.Digest("sha256:0000000000000000000000000000000000000000000000000000000000000000")

// Starter returns what `stella init` writes. It changes nothing itself. Errors
// are of class stella.ErrInvalid: a bad name, or a Compose file that can not be
// read at all. What Stella does not support in a Compose file is in the notes.
func Starter(ctx context.Context, o StarterOptions) (*StarterFiles, error) {
	names, err := starterNames(o)
	if err != nil {
		return nil, err
	}
	app, err := starterApp(o)
	if err != nil {
		return nil, err
	}
	s := &StarterFiles{Files: map[string][]byte{
		ProjectPath: []byte(starterProject(o.Name)),
		"README.md": []byte(starterReadme(o.Name, names, app)),
	}}
	p := &Project{}
	for i, name := range names {
		s.Files[EnvironmentPath(p, name)] = []byte(starterEnvironment(o, names, i, app))
		for file, content := range app.files {
			s.Files[path.Join(AppPath(p, name), file)] = content
		}
	}
	found, err := starterProblems(ctx, s.Files, names[0])
	if err != nil {
		return nil, err
	}
	s.Notes = append(app.notes, found...)
	if len(o.Compose) == 0 && len(found) > 0 {
		return nil, fmt.Errorf("%w: the starter does not render: %s", stella.ErrInvalid, strings.Join(found, "; "))
	}
	return s, nil
}

// starterNames checks the names.
func starterNames(o StarterOptions) ([]stella.EnvName, error) {
	if _, err := stella.ParseName(o.Name); err != nil {
		return nil, fmt.Errorf("name the project: %w", err)
	}
	given := o.Environments
	switch {
	case len(given) > 0:
	case len(o.Compose) > 0:
		given = []string{"production"}
	default:
		given = []string{"staging", "production"}
	}
	var names []stella.EnvName
	for _, name := range given {
		if _, err := stella.ParseName(name); err != nil {
			return nil, fmt.Errorf("name an environment: %w", err)
		}
		names = append(names, stella.EnvName(name))
	}
	return names, nil
}

// starter is the app of a starter, the same in each environment.
type starter struct {
	files map[string][]byte // by path below the app's directory
	notes []string
	own   bool // the starter's own, of which more is known

	project string // of Compose, as which it runs
	binds   bool   // it mounts something of its directory
}

func starterApp(o StarterOptions) (*starter, error) {
	if len(o.Compose) == 0 {
		return &starter{own: true, files: map[string][]byte{
			composeFile:    []byte(starterCompose()),
			"release.yaml": []byte(starterRelease(o.Name)),
			"config/app.conf": []byte("# A file of the app: it is deployed with it and rolled back with it.\n" +
				"greeting = hello\n"),
		}}, nil
	}
	return importCompose(o)
}

// starterProblems renders an environment as if its images were pinned and
// returns what is wrong.
func starterProblems(ctx context.Context, files map[string][]byte, name stella.EnvName) ([]string, error) {
	t := fileTree(files)
	err := func() error {
		p, err := ReadProject(ctx, t)
		if err != nil {
			return err
		}
		e, err := ReadEnvironment(ctx, t, p, name)
		if err != nil {
			return err
		}
		r, err := ReadRelease(ctx, t, p, name)
		if err != nil {
			return err
		}
		pinned := &ReleaseFile{Variables: r.Variables, Release: stella.Release{Components: map[string]stella.Artifact{}}}
		for component, a := range r.Release.Components {
			a.Digest = placeholderDigest
			pinned.Release.Components[component] = a
		}
		_, err = Render(ctx, t, p, e, pinned)
		return err
	}()
	var problems Problems
	switch {
	case err == nil:
		return nil, nil
	case !errors.As(err, &problems):
		return nil, err
	}
	notes := make([]string, 0, len(problems))
	for _, p := range problems {
		notes = append(notes, safe.Line(p.String()))
	}
	return notes, nil
}
