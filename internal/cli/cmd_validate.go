package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/configrepo"
	"github.com/stella-ops/stella/internal/durable"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/internal/term"
)

type validateOptions struct {
	app *App
	fix bool
}

func newValidateCmd(a *App) *cobra.Command {
	o := &validateOptions{app: a}
	cmd := &cobra.Command{
		Use:   "validate [DIR] [--fix]",
		Short: "Check a working copy of the config repository strictly",
		Long: "Read and render everything in a working copy and report all problems at once, each with file, line and\n" +
			"field. --fix pins tags to the digests that they have now; everything else in the files stays as it is.",
		Example: "  stella validate\n  stella validate ~/src/shop-config --fix",
		Args:    atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := o.dir(args)
			if err != nil {
				return err
			}
			return o.run(cmd.Context(), dir)
		},
	}
	cmd.Flags().BoolVar(&o.fix, "fix", false, "pin tags to digests, in place")
	return exits(cmd, exitsOfQuestion())
}

// dir is the working copy: the argument, or the nearest directory upwards with
// a stella.yaml.
func (o *validateOptions) dir(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], missingProject(args[0])
	}
	here, err := o.app.process.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working directory: %w", err)
	}
	for dir := here; ; dir = filepath.Dir(dir) {
		if isFile(filepath.Join(dir, configrepo.ProjectPath)) {
			return dir, nil
		}
		if filepath.Dir(dir) == dir {
			return here, missingProject(here)
		}
	}
}

// missingProject says that a directory is no working copy of ours.
func missingProject(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, configrepo.ProjectPath))
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: no %s in %s", stella.ErrNotFound, configrepo.ProjectPath, safe.Line(dir))
	return stella.WithHint(err, "name the top of a config repository, or run 'stella init' to start one")
}

// fixedComponent is a tag that --fix pinned.
type fixedComponent struct {
	Path  string `json:"path"`
	Image string `json:"image"`
}

// validateDoc is the document of `validate`.
type validateDoc struct {
	SchemaVersion int              `json:"schemaVersion"`
	OK            bool             `json:"ok"`
	Problems      []problemDoc     `json:"problems"`
	Fixed         []fixedComponent `json:"fixed"`
}

type problemDoc struct {
	Path   string `json:"path"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Field  string `json:"field"`
	What   string `json:"what"`
	Fix    string `json:"fix"`
}

func (o *validateOptions) run(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", safe.Line(dir), err)
	}
	defer func() { _ = root.Close() }() // it was only read
	tree := configrepo.DirTree(root)
	var fixed []fixedComponent
	if o.fix {
		if fixed, err = o.pin(ctx, tree, dir); err != nil {
			return err
		}
	}
	err = configrepo.Validate(ctx, tree)
	var problems configrepo.Problems
	if err != nil && !errors.As(err, &problems) {
		return err
	}
	return o.print(problems, fixed)
}

func (o *validateOptions) print(problems configrepo.Problems, fixed []fixedComponent) error {
	doc := validateDoc{SchemaVersion: 1, OK: len(problems) == 0, Fixed: fixed}
	var paths []string
	for _, p := range problems {
		doc.Problems = append(doc.Problems, problemDoc(p))
		paths = append(paths, p.Path)
	}
	for _, f := range fixed {
		o.app.note("%s: pinned %s", f.Path, longImage(f.Image))
	}
	err := o.app.print(view{
		doc: doc, names: slices.Compact(paths),
		page: func(p *page) {
			for _, one := range problems {
				p.line(term.Plain, "%s", one)
			}
			if len(problems) == 0 {
				p.line(term.Good, "valid")
			}
		},
	})
	if err != nil || doc.OK {
		return err
	}
	o.app.note("%s", count(len(problems), "problem"))
	return answer(false, "mend them and run 'stella validate' again; 'stella validate --fix' pins tags")
}

// pin resolves the tags of every environment's release.yaml and writes the
// files in place, each whole or not at all. A file that can not be read is left
// to validation, which says why.
func (o *validateOptions) pin(ctx context.Context, tree configrepo.Tree, dir string) ([]fixedComponent, error) {
	p, err := configrepo.ReadProject(ctx, tree)
	if err != nil {
		return nil, ignoreProblems(err)
	}
	refs, err := configrepo.Environments(ctx, tree, p)
	if err != nil {
		return nil, ignoreProblems(err)
	}
	client := o.app.registries(p, o.app.logger())
	var fixed []fixedComponent
	for _, ref := range refs {
		release, err := configrepo.ReadRelease(ctx, tree, p, ref.Name)
		if err != nil || len(release.Undigested) == 0 {
			if err = ignoreProblems(err); err != nil {
				return fixed, err
			}
			continue
		}
		path := configrepo.ReleasePath(p, ref.Name)
		err = pinFile(ctx, tree, dir, path, func(a stella.Artifact) (stella.Artifact, error) {
			if a.Digest != "" {
				return a, nil
			}
			pinned, err := client.Resolve(ctx, a)
			if err == nil {
				fixed = append(fixed, fixedComponent{Path: path, Image: pinned.String()})
			}
			return pinned, err
		})
		if err != nil {
			return fixed, fmt.Errorf("pin %s: %w", path, err)
		}
	}
	return fixed, nil
}

// ignoreProblems leaves problems to validation, which reports all of them.
func ignoreProblems(err error) error {
	if errors.As(err, new(configrepo.Problems)) || errors.Is(err, stella.ErrNotFound) {
		return nil
	}
	return err
}

// maxReleaseBytes bounds a release.yaml, which names a few dozen images.
const maxReleaseBytes = 1 << 20

func pinFile(ctx context.Context, tree configrepo.Tree, dir, path string, resolve func(stella.Artifact) (stella.Artifact, error)) error {
	src, err := tree.Read(ctx, path, maxReleaseBytes)
	if err != nil {
		return err
	}
	pinned, err := configrepo.PinDigests(src, resolve)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, filepath.FromSlash(path))
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	return durable.WriteFile(file, pinned, info.Mode().Perm())
}
