package configrepo

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// The name of the Compose file of an app, and of the file that Compose would
// read beside it.
const (
	composeFile = "compose.yaml"
	dotEnvFile  = ".env"
)

// composeSource is a Compose file of the app: the main one, or one that it includes or
// extends from.
type composeSource struct {
	doc      *document
	base     string // directory that its references are relative to
	loaded   bool   // as a whole: not only services of it are extended
	includes []include
	services map[string]field
}

// newComposeSource indexes a file's services.
func newComposeSource(doc *document, base string, loaded bool) *composeSource {
	s := &composeSource{doc: doc, base: base, loaded: loaded, services: map[string]field{}}
	for _, f := range fields(child(doc.root, "services")) {
		s.services[f.key.Value] = f
	}
	return s
}

// find is find for the file, without going over all services for one.
func (s *composeSource) find(at ...string) (n *yaml.Node, name string) {
	if f, ok := s.services[at[min(1, len(at)-1)]]; ok && at[0] == "services" && len(at) > 1 {
		n, name = find(f.value, at[2:]...)
		return n, strings.TrimSuffix(joinField("services", f.key.Value)+"."+name, ".")
	}
	return find(s.doc.root, at...)
}

// include is one file that a source includes, and where it says so.
type include struct {
	to   *composeSource
	node *yaml.Node
}

// checker looks at the Compose files of an app before a loader does. What it
// lets pass refers to nothing outside the app and the shared directories, uses
// only declared variables and is bounded when the loader writes it out.
type checker struct {
	app     string                           // directory of the app
	allowed []string                         // the app's and the shared directories; "" allows the whole tree
	read    func(path string) ([]byte, bool) // a file below those
	vars    expander
	// engine is set where a target is an engine: then paths of its machine and
	// mounts by options of a volume are left to the policy, which sees them
	// rendered.
	engine bool
	// secrets are the files of the environment's secrets directory that can be
	// read, by path; secretsDir is empty where an app has none.
	secrets    SecretFiles
	secretsDir string

	docs     map[string]*document      // read before, also for other variables
	sources  map[string]*composeSource // by path and base
	order    []*composeSource
	work     int // values looked at; see maxComposeWork
	services int
	ports    int // that the ranges of short ports add up to
	tooLong  bool

	undeclared map[string]bool // names that expressions need and nobody declared
	files      map[string]bool // that are referred to and there
	problems   Problems
}

// newChecker returns a checker of the app in a directory, which may also refer
// to shared directories.
func newChecker(app string, shared []string, read func(string) ([]byte, bool), vars expander) *checker {
	return &checker{
		app: app, allowed: append([]string{app}, shared...), read: read, vars: vars,
		docs: map[string]*document{}, sources: map[string]*composeSource{},
		undeclared: map[string]bool{}, files: map[string]bool{},
	}
}

// check runs the whole check from the main file on.
func (c *checker) check() {
	main := c.visit(path.Join(c.app, composeFile), c.app, true)
	if main == nil {
		return
	}
	c.checkIncludes(main)
	c.checkExtends()
}

func (c *checker) fail(s *composeSource, n *yaml.Node, field, what, fix string) {
	c.problems = append(c.problems, problemAt(s.doc.path, n, field, what, fix))
}

// visit reads and checks a file once for each directory that its references
// can be relative to. It returns nil for what can not be read, which it has
// reported.
func (c *checker) visit(file, base string, loaded bool) *composeSource {
	key := file + "\x00" + base
	if s, ok := c.sources[key]; ok {
		if s != nil && loaded && !s.loaded {
			s.loaded = true
			c.checkLoaded(s)
		}
		return s
	}
	c.sources[key] = nil
	doc := c.document(file)
	if doc == nil {
		return nil
	}
	if c.work += doc.nodes(doc.root); c.work > maxComposeWork {
		c.problems = append(c.problems, Problem{Path: file, What: tooMuch})
		return nil
	}
	s := newComposeSource(doc, base, loaded)
	c.sources[key] = s
	c.order = append(c.order, s)
	if c.services += len(s.services); c.services > maxServices {
		c.problems = append(c.problems, Problem{Path: file, What: fmt.Sprintf("brings the app to more than %d services", maxServices)})
		return nil
	}
	for _, name := range sortedKeys(s.services) {
		c.service(s, s.services[name].value, joinField("services", name))
	}
	scalars{c, s, map[*yaml.Node]bool{}}.walk(doc.root, nil)
	if loaded {
		c.checkLoaded(s)
	}
	return s
}

func (c *checker) document(file string) *document {
	if doc, ok := c.docs[file]; ok {
		return doc
	}
	content, ok := c.read(file)
	if !ok {
		c.problems = append(c.problems, Problem{Path: file, What: "does not exist", Fix: "add the app's " + composeFile})
		return nil
	}
	doc, problems := parseCompose(file, content)
	c.problems = append(c.problems, problems...)
	if doc != nil {
		c.docs[file] = doc
	}
	return doc
}

// checkLoaded checks what matters only in a file that is read as a whole.
func (c *checker) checkLoaded(s *composeSource) {
	for _, f := range fields(s.doc.root) {
		switch f.key.Value {
		case "include":
			for i, n := range items(f.value) {
				c.include(s, n, fmt.Sprintf("include[%d]", i))
			}
		case "configs":
			for _, one := range fields(f.value) {
				c.content(s, one.value, joinField("configs", one.key.Value))
			}
		case "secrets":
			for _, one := range fields(f.value) {
				c.secret(s, one.value, joinField("secrets", one.key.Value))
			}
		case "volumes":
			for _, one := range fields(f.value) {
				c.volume(s, one.value, joinField("volumes", one.key.Value))
			}
		case "jobs":
			c.fail(s, f.key, "jobs", "is not supported", "make it a service with x-stella: {job: pre-deploy}")
		case "version":
			if s.doc.clean == nil {
				c.fail(s, f.key, "version", "is obsolete", "remove it")
			}
		}
	}
}

// include follows one entry of include.
func (c *checker) include(s *composeSource, n *yaml.Node, field string) {
	paths := n
	if n.Kind == yaml.MappingNode {
		paths = child(n, "path")
		for _, f := range fields(n) {
			switch f.key.Value {
			case "env_file":
				c.fail(s, f.key, field+".env_file", "is not supported", "declare the variables in release.yaml")
			case "project_directory":
				c.fail(s, f.key, field+".project_directory", "is not supported", "paths are relative to the included file")
			}
		}
	}
	base := ""
	for i, one := range items(paths) {
		file, ok := c.reference(s, one, field)
		if !ok || !c.exists(s, one, field, file) {
			return
		}
		if i == 0 {
			base = path.Dir(file)
			c.dotEnv(s, one, field, base)
		}
		if to := c.visit(file, base, true); to != nil {
			s.includes = append(s.includes, include{to, one})
		}
	}
}

// dotEnv refuses a file that the loader would read by itself. The main file's
// own is never read.
func (c *checker) dotEnv(s *composeSource, n *yaml.Node, field, dir string) {
	if _, ok := c.read(path.Join(dir, dotEnvFile)); ok && dir != c.app {
		c.fail(s, n, field, "has a "+dotEnvFile+" beside it, which is not read", "declare its variables in release.yaml and rename it")
	}
}

// content checks an entry of configs or secrets.
func (c *checker) content(s *composeSource, n *yaml.Node, field string) {
	if file := child(n, "file"); file != nil {
		if p, ok := c.reference(s, file, field+".file"); ok {
			c.exists(s, file, field+".file", p)
		}
	}
	if name := child(n, "environment"); name != nil && name.Kind == yaml.ScalarNode {
		c.declared(s, name, field+".environment", name.Value)
	}
}

// volume refuses a named volume that is a bind mount in disguise.
func (c *checker) volume(s *composeSource, n *yaml.Node, field string) {
	if c.engine {
		return
	}
	opts := child(n, "driver_opts")
	options, device := c.text(child(opts, "o")), c.text(child(opts, "device"))
	bind := slices.ContainsFunc(strings.Split(options, ","), func(o string) bool {
		return strings.Contains(o, "bind")
	})
	if bind || device != "" && !strings.HasPrefix(device, ":") && !strings.HasPrefix(device, "//") {
		c.fail(s, opts, field+".driver_opts", "mounts a path of the machine", "use a volume without driver_opts, or configs for files of the app")
	}
}

// text returns a scalar as it expands; what does not expand is reported
// elsewhere.
func (c *checker) text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	value, err := c.vars.expand(n.Value)
	if err != nil {
		return n.Value
	}
	return value
}

// declared reports a name that stands for a variable's value and has none.
func (c *checker) declared(s *composeSource, n *yaml.Node, field, name string) {
	if _, ok := c.vars.lookup(name); !ok {
		c.undeclared[name] = true
		c.fail(s, n, field, (&undeclaredError{name}).Error(), "add it to variables in release.yaml or of the target, or give it a value here")
	}
}

// expansion reports an expression that does not expand. What is too long is said
// once: it is so from there on.
func (c *checker) expansion(s *composeSource, n *yaml.Node, field string, err error) {
	var undeclared *undeclaredError
	switch {
	case errors.Is(err, errTooLong) && c.tooLong:
		return
	case errors.Is(err, errTooLong):
		c.tooLong = true
	case errors.As(err, &undeclared):
		c.undeclared[undeclared.name] = true
	}
	c.problems = append(c.problems, expansionProblem(s.doc.path, n, field, err))
}

func expansionProblem(file string, n *yaml.Node, field string, err error) Problem {
	fix := ""
	var undeclared *undeclaredError
	var required *requiredError
	switch {
	case errors.As(err, &undeclared):
		fix = "add it to variables in release.yaml or of the target, or write ${" + undeclared.name + ":-default}"
	case errors.As(err, &required):
		fix = "add it to variables in release.yaml or of the target"
	}
	return problemAt(file, n, field, err.Error(), fix)
}
