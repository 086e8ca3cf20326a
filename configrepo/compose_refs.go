package configrepo

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/format"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"
)

// maxPorts bounds what the ranges of short ports of an app add up to.
const maxPorts = 1000

// service checks what a service refers to.
func (c *checker) service(s *composeSource, n *yaml.Node, field string) {
	c.container(s, n, field)
	for _, f := range fields(n) {
		at := joinField(field, f.key.Value)
		switch f.key.Value {
		case "build":
			c.fail(s, f.key, at, "is not supported: a release is made of digests", "build and push the image before, and name it in release.yaml")
		case "extends":
			c.extendsFile(s, child(f.value, "file"), at+".file")
		case "develop", "x-develop":
			for i, w := range items(child(f.value, "watch")) {
				c.referenceIfSet(s, child(w, "path"), fmt.Sprintf("%s.watch[%d].path", at, i))
			}
		case "healthcheck":
			c.healthcheck(s, child(f.value, "test"), at+".test")
		case "pre_start":
			for i, hook := range items(f.value) {
				c.container(s, hook, fmt.Sprintf("%s[%d]", at, i))
			}
		case "ports":
			for i, port := range items(f.value) {
				c.portRange(s, port, fmt.Sprintf("%s[%d]", at, i))
			}
		}
	}
}

// healthcheck says where the loader would not.
func (c *checker) healthcheck(s *composeSource, test *yaml.Node, field string) {
	if test == nil || test.Kind != yaml.SequenceNode || len(items(test)) == 0 {
		return
	}
	switch c.text(items(test)[0]) {
	case "CMD", "CMD-SHELL", "NONE":
	default:
		c.fail(s, test, field, "does not start with CMD, CMD-SHELL or NONE", "")
	}
}

// container checks what anything that runs a container refers to.
func (c *checker) container(s *composeSource, n *yaml.Node, field string) {
	for _, f := range fields(n) {
		at := joinField(field, f.key.Value)
		switch f.key.Value {
		case "env_file", "label_file":
			for i, one := range items(f.value) {
				c.envFile(s, one, fmt.Sprintf("%s[%d]", at, i))
			}
		case "volumes":
			for i, one := range items(f.value) {
				c.mount(s, one, fmt.Sprintf("%s[%d]", at, i))
			}
		case "credential_spec":
			c.referenceIfSet(s, child(f.value, "file"), at+".file")
		case "environment":
			c.environment(s, f.value, at)
		}
	}
}

func (c *checker) envFile(s *composeSource, n *yaml.Node, field string) {
	required := true
	if n.Kind == yaml.MappingNode {
		required = c.text(child(n, "required")) != "false"
		if format := child(n, "format"); format != nil {
			c.fail(s, format, field+".format", "is not supported", "remove it")
		}
		n = child(n, "path")
	}
	if n == nil {
		return // the loader says so
	}
	if file, ok := c.reference(s, n, field); ok && required {
		c.exists(s, n, field, file)
	}
}

// environment checks variables that are passed on by name alone.
func (c *checker) environment(s *composeSource, n *yaml.Node, field string) {
	for _, f := range fields(n) {
		if f.value.Tag == "!!null" {
			c.declared(s, f.key, joinField(field, f.key.Value), f.key.Value)
		}
	}
	if n.Kind != yaml.SequenceNode {
		return
	}
	for i, one := range items(n) {
		if name := c.text(one); one.Kind == yaml.ScalarNode && !strings.Contains(name, "=") {
			c.declared(s, one, fmt.Sprintf("%s[%d]", field, i), name)
		}
	}
}

// mount checks where a bind mount comes from.
func (c *checker) mount(s *composeSource, n *yaml.Node, field string) {
	if n.Kind == yaml.MappingNode {
		if c.text(child(n, "type")) == "bind" && !c.ofMachine(c.text(child(n, "source"))) {
			c.referenceIfSet(s, child(n, "source"), field+".source")
		}
		return
	}
	if v, err := format.ParseVolume(c.text(n)); err == nil && v.Type == types.VolumeTypeBind && !c.ofMachine(v.Source) {
		c.place(s, n, field, v.Source)
	}
}

// ofMachine reports whether a bind mount is of a path of an engine's machine,
// which the policy looks at.
func (c *checker) ofMachine(source string) bool {
	return c.engine && strings.HasPrefix(source, "/") && !strings.ContainsAny(source, "\\\x00")
}

// extendsFile follows the file that a service extends from.
func (c *checker) extendsFile(s *composeSource, n *yaml.Node, field string) {
	if n == nil {
		return
	}
	if file, ok := c.reference(s, n, field); ok && c.exists(s, n, field, file) {
		c.visit(file, path.Dir(file), false)
	}
}

func (c *checker) referenceIfSet(s *composeSource, n *yaml.Node, field string) {
	if n != nil {
		c.reference(s, n, field)
	}
}

// reference returns the file or directory that a value refers to, if it is one
// that the app may refer to. It reports every other.
func (c *checker) reference(s *composeSource, n *yaml.Node, field string) (string, bool) {
	if n.Kind != yaml.ScalarNode {
		c.fail(s, n, field, "is not a path", "")
		return "", false
	}
	value, err := c.vars.expand(n.Value)
	if err != nil {
		return "", false // reported where all values are looked at
	}
	return c.place(s, n, field, value)
}

// place returns the path that a reference of s leads to.
func (c *checker) place(s *composeSource, n *yaml.Node, field, value string) (string, bool) {
	if what := strangePath(value); what != "" {
		c.fail(s, n, field, what, "put the file below "+c.dir()+" and refer to it from there")
		return "", false
	}
	to := path.Join(s.base, value)
	if !c.within(to) {
		c.fail(s, n, field, "leads outside "+c.dir()+" and the shared directories",
			"put the file below "+c.dir()+", or add its directory to shared in environment.yaml")
		return "", false
	}
	return to, true
}

// dir names the app's directory.
func (c *checker) dir() string {
	if c.app == "" {
		return "its directory"
	}
	return c.app
}

// strangePath says what is wrong with a reference that is not a relative path,
// or "".
func strangePath(value string) string {
	switch {
	case value == "":
		return "is empty"
	case strings.Contains(value, "://"), strings.HasPrefix(value, "git@"), strings.HasPrefix(value, "oci:"):
		return "is remote"
	case strings.HasPrefix(value, "/"), strings.HasPrefix(value, "~"):
		return "is an absolute path"
	case strings.ContainsAny(value, "\\\x00") || len(value) > 1 && value[1] == ':':
		return "is not a path of this repository"
	}
	return ""
}

// within reports whether a clean path is one of the directories that the app
// may refer to, or below one.
func (c *checker) within(p string) bool {
	if p == ".." || strings.HasPrefix(p, "../") {
		return false
	}
	for _, dir := range c.allowed {
		if dir == "" || p == dir || strings.HasPrefix(p, dir+"/") {
			return true
		}
	}
	return false
}

func (c *checker) exists(s *composeSource, n *yaml.Node, field, file string) bool {
	if _, ok := c.read(file); !ok {
		c.fail(s, n, field, "there is no such file", "")
		return false
	}
	c.files[file] = true
	return true
}

// portRange counts what a short port like "8000-8100:8000-8100" becomes.
func (c *checker) portRange(s *composeSource, n *yaml.Node, field string) {
	if n.Kind != yaml.ScalarNode {
		return
	}
	for _, part := range strings.FieldsFunc(c.text(n), func(r rune) bool { return r == ':' || r == '/' }) {
		from, to, found := strings.Cut(part, "-")
		low, err := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if found && err == nil && err2 == nil && high > low {
			c.ports += min(high-low, maxPorts+1)
		}
	}
	if c.ports > maxPorts {
		c.ports = 0 // said once
		c.fail(s, n, field, fmt.Sprintf("the ranges add up to more than %d ports", maxPorts), "")
		return
	}
	if _, err := types.ParsePortConfig(c.text(n)); err != nil {
		c.fail(s, n, field, "is not a port", "write \"8080:80\", \"127.0.0.1:8080:80/tcp\" or a mapping")
	}
}
