package configrepo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
)

// Place is a file of an environment's app with what runs written into it.
type Place struct {
	Path    string // from the top of the repository
	Content []byte
	Fields  []string // what was written where: "services.api.environment.LEVEL"
}

// PlaceLive writes into the files of an app what makes the fields of a service
// what they are after instead of what they are before; both are as Render makes
// them. It returns the files that it changed, by path, and changes as little in
// them as can be: a value that comes from ${VARIABLE} is changed in release.yaml.
//
// It does not know what else refers to what it changed: whoever calls it renders
// the result and looks. What has no place is of class ErrRefused, all of it at
// once; other errors are the Tree's, or Problems.
func PlaceLive(ctx context.Context, t Tree, p *Project, e *Environment, r *ReleaseFile, service string, before, after map[string]any) ([]Place, error) {
	l := &placer{
		ctx: ctx, tree: t, project: p, env: e, release: r, app: AppPath(p, e.Name), service: service, before: before, after: after,
		components: map[string]stella.Artifact{}, variables: map[string]string{}, files: map[string]*Place{},
	}
	l.composePath = path.Join(l.app, composeFile)
	if err := l.open(); err != nil {
		return nil, err
	}
	for _, name := range sortedKeys(merged(before, after)) {
		if !sameValue(before[name], after[name]) {
			l.field(name)
		}
	}
	if err := errors.Join(l.errs...); err != nil {
		return nil, err
	}
	return l.places()
}

// placer finds the places of what runs.
type placer struct {
	ctx     context.Context //nolint:containedctx // of one call of PlaceLive
	tree    Tree
	project *Project
	env     *Environment
	release *ReleaseFile
	app     string // directory
	service string

	before, after map[string]any
	composePath   string
	components    map[string]stella.Artifact // to be set in release.yaml
	variables     map[string]string          // likewise
	releaseFields []string
	files         map[string]*Place
	errs          []error
}

func merged(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	if all == nil {
		all = map[string]any{}
	}
	maps.Copy(all, b)
	return all
}

// open reads the Compose file, which has to say the service itself.
func (l *placer) open() error {
	src, err := readOwn(l.ctx, l.tree, l.composePath)
	if err != nil {
		return err
	}
	l.files[l.composePath] = &Place{Path: l.composePath, Content: src}
	c, err := l.compose()
	if err != nil {
		return err
	}
	s, err := c.at("services", l.service)
	if err != nil || s.node == nil {
		err := fmt.Errorf("service %s is not written in %s itself: %w", l.service, safe.Line(l.composePath), stella.ErrRefused)
		return stella.WithHint(err, "change it where it is written, by hand, and commit that")
	}
	return nil
}

// compose opens the Compose file as it stands by now.
func (l *placer) compose() (*composeEdit, error) {
	return openCompose(l.composePath, l.files[l.composePath].Content)
}

// edit changes the Compose file, and remembers what was written where.
func (l *placer) edit(change func(c *composeEdit) ([]byte, error), keys ...string) {
	c, err := l.compose()
	if err == nil {
		var out []byte
		if out, err = change(c); err == nil {
			l.wrote(l.composePath, out, fieldName(keys))
			return
		}
	}
	l.errs = append(l.errs, err)
}

func (l *placer) wrote(file string, content []byte, field string) {
	p := l.files[file]
	if p == nil {
		p = &Place{Path: file}
		l.files[file] = p
	}
	p.Content = content
	if !slices.Contains(p.Fields, field) {
		p.Fields = append(p.Fields, field)
	}
}

// none says that something has no place, and what to do instead.
func (l *placer) none(hint, format string, args ...any) {
	err := fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), stella.ErrRefused)
	l.errs = append(l.errs, stella.WithHint(err, hint))
}

// bringBack is what to do about what no file can say.
func (l *placer) bringBack() string {
	return fmt.Sprintf("run 'stella reconcile %s' to bring it back to what was deployed", l.env.Name)
}

// places returns the files that were changed.
func (l *placer) places() ([]Place, error) {
	if len(l.components)+len(l.variables) > 0 {
		at := ReleasePath(l.project, l.env.Name)
		src, err := readOwn(l.ctx, l.tree, at)
		if err != nil {
			return nil, err
		}
		if len(l.components) > 0 {
			if src, err = SetRelease(src, "", l.components); err != nil {
				return nil, err
			}
		}
		if len(l.variables) > 0 {
			if src, err = SetVariables(src, l.variables); err != nil {
				return nil, err
			}
		}
		l.files[at] = &Place{Path: at, Content: src, Fields: l.releaseFields}
	}
	var all []Place
	for _, name := range sortedKeys(l.files) {
		if p := l.files[name]; len(p.Fields) > 0 {
			all = append(all, *p)
		}
	}
	return all, nil
}

// field places one field of the resource.
func (l *placer) field(name string) {
	before, after := l.before[name], l.after[name]
	at := []string{"services", l.service}
	switch name {
	case "image":
		l.image(after)
	case "environment", "labels":
		l.pairs(name, before, after)
	case "command", "entrypoint":
		l.list(before, after, append(at, name)...)
	case "healthcheck":
		l.healthcheck(before, after)
	case "ports":
		l.ports(before, after)
	case "configs":
		l.configs(before, after)
	case "workingDir":
		l.value(before, after, append(at, "working_dir")...)
	case "stopSignal":
		l.value(before, after, append(at, "stop_signal")...)
	case "stopGracePeriodSeconds":
		l.value(before, durationText(after), append(at, "stop_grace_period")...)
	case "dependsOn", "volumes", stellaField:
		l.none("change it in compose.yaml by hand, or "+l.bringBack(), "%s of service %s is not written by itself", safe.Line(name), l.service)
	default:
		l.any(before, after, append(at, name)...)
	}
}

// image places the image of a component, or of a service that is none.
func (l *placer) image(after any) {
	text, _ := after.(string)
	a, err := stella.ParseArtifact(text)
	if err != nil || a.Digest == "" {
		l.none(l.bringBack(), "what service %s runs is no image with a digest", l.service)
		return
	}
	if _, is := l.release.Release.Components[l.service]; is {
		l.components[l.service] = a
		l.releaseFields = append(l.releaseFields, "components."+l.service)
		return
	}
	l.value(l.before["image"], text, "services", l.service, "image")
}
