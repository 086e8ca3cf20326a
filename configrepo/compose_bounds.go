package configrepo

import (
	"path"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxComposeWork bounds the values that all files of an app have together, and
// those that include and extends make a loader copy.
const maxComposeWork = 40_000

// maxServices bounds the services of all files of an app. A loader takes about
// 0.4 ms and 200 KB for each.
const maxServices = 500

const tooMuch = "the app's Compose files include and extend too much"

// checkIncludes reports files that include themselves, and includes that add up
// to too much: a file may be included on many ways.
func (c *checker) checkIncludes(main *composeSource) {
	w := includeWeights{c: c, done: map[*composeSource]int{}, open: map[*composeSource]bool{}}
	if w.of(main) > maxComposeWork {
		c.fail(main, child(main.doc.root, "include"), "include", tooMuch, "")
	}
}

type includeWeights struct {
	c    *checker
	done map[*composeSource]int
	open map[*composeSource]bool // on the way from the main file
}

func (w includeWeights) of(s *composeSource) int {
	if weight, ok := w.done[s]; ok {
		return weight
	}
	w.open[s] = true
	weight := s.doc.nodes(s.doc.root)
	for _, i := range s.includes {
		if w.open[i.to] {
			w.c.fail(s, i.node, "include", "the file includes itself, through "+i.to.doc.path, "remove one of the includes")
			continue
		}
		weight = min(weight+w.of(i.to), maxComposeWork+1)
	}
	delete(w.open, s)
	w.done[s] = weight
	return weight
}

// checkExtends follows what each service extends to its end.
func (c *checker) checkExtends() {
	work := 0
	for _, s := range c.order {
		if !s.loaded {
			continue
		}
		for _, name := range sortedKeys(s.services) {
			f := s.services[name]
			if child(f.value, "extends") == nil {
				continue
			}
			if work += c.extendsChain(s, f); work > maxComposeWork {
				c.fail(s, f.key, joinField("services", f.key.Value), tooMuch, "")
				return
			}
		}
	}
}

// extendsChain returns how many values a loader copies for what a service
// extends, and reports a chain without an end.
func (c *checker) extendsChain(s *composeSource, first field) int {
	seen := map[*yaml.Node]bool{}
	work := 0
	at, service := s, first.value
	for service != nil && work <= maxComposeWork {
		if seen[service] {
			c.fail(s, first.key, joinField("services", first.key.Value), "extends itself", "remove one of the extends")
			break
		}
		seen[service] = true
		work += at.doc.nodes(service)
		var file bool
		at, service, file = c.extended(at, child(service, "extends"))
		if file && at != nil {
			work += at.doc.nodes(at.doc.root)
		}
	}
	return work
}

// extended returns the service that an extends names, nil where there is none,
// and whether it is looked for in a file of its own.
func (c *checker) extended(s *composeSource, extends *yaml.Node) (from *composeSource, service *yaml.Node, file bool) {
	if extends == nil {
		return s, nil, false
	}
	name := extends
	if extends.Kind == yaml.MappingNode {
		name = child(extends, "service")
		if f := child(extends, "file"); f != nil {
			place := path.Join(s.base, c.text(f))
			s, file = c.sources[place+"\x00"+path.Dir(place)], true
		}
	}
	if s == nil || name == nil {
		return s, nil, file
	}
	return s, s.services[c.text(name)].value, file
}

// withoutVersion returns content with the obsolete top-level version, of which
// the loader would warn on standard error, made a comment. Lines and columns
// stay. It returns nil where that can not be done.
func withoutVersion(content []byte, root *yaml.Node) []byte {
	var key, value *yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "version" {
			key, value = root.Content[i], root.Content[i+1]
		}
	}
	switch {
	case key == nil && child(root, "version") == nil:
		return content
	case key == nil || root.Style&yaml.FlowStyle != 0 || value.Kind != yaml.ScalarNode || value.Anchor != "":
		return nil
	}
	return withoutLine(content, key.Line, value.Value)
}

// withoutLine makes a comment of a line that reads version: VALUE and no more.
func withoutLine(content []byte, line int, value string) []byte {
	lines := strings.SplitAfter(string(content), "\n")
	if line > len(lines) {
		return nil
	}
	text := strings.TrimRight(lines[line-1], "\r\n")
	rest, ok := strings.CutPrefix(text, "version:")
	rest, _, _ = strings.Cut(rest, " #")
	rest = strings.TrimSpace(rest)
	if !ok || rest != value && rest != `"`+value+`"` && rest != "'"+value+"'" {
		return nil
	}
	lines[line-1] = strings.Repeat("#", len(text)) + lines[line-1][len(text):]
	return []byte(strings.Join(lines, ""))
}
