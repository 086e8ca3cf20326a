package configrepo

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// scalars looks at every value of a file once, wherever it is merged in.
type scalars struct {
	c    *checker
	s    *composeSource
	seen map[*yaml.Node]bool
}

// walk reports what does not expand. at are the keys that lead to n.
func (w scalars) walk(n *yaml.Node, at []string) {
	if n = target(n); n.Tag == resetTag {
		return
	}
	switch {
	case n.Kind == yaml.ScalarNode:
		w.scalar(n, at)
		return
	case w.seen[n]:
		return
	}
	w.seen[n] = true
	for i, one := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode:
			w.walk(one, append(at, "["+strconv.Itoa(i)+"]"))
		case i%2 == 1:
			w.walk(one, append(at, n.Content[i-1].Value))
		}
	}
}

func (w scalars) scalar(n *yaml.Node, at []string) {
	value, err := w.c.vars.expand(n.Value)
	if err != nil {
		w.c.expansion(w.s, n, fieldName(at), err)
		return
	}
	if oldBoolean(value) && isBoolean(at) {
		w.c.fail(w.s, n, fieldName(at), "is not a boolean in YAML 1.2", "write true or false")
	}
}

func fieldName(at []string) string {
	name := ""
	for _, key := range at {
		if strings.HasPrefix(key, "[") {
			name += key
		} else {
			name = joinField(name, key)
		}
	}
	return name
}

// oldBoolean reports whether s is a boolean in YAML 1.1 only. The loader reads
// it as one and writes a warning to the process's standard error.
func oldBoolean(s string) bool {
	switch strings.ToLower(s) {
	case "y", "yes", "on", "n", "no", "off":
		return true
	}
	return false
}

// isBoolean reports whether Compose casts the value at these keys to a boolean.
func isBoolean(at []string) bool {
	if len(at) < 3 {
		return false
	}
	last := at[len(at)-1]
	switch at[0] + "/" + strconv.Itoa(len(at)) {
	case "networks/3", "volumes/3", "secrets/3", "configs/3":
		return last == "external" || last == "internal" || last == "attachable" || strings.HasPrefix(last, "enable_ipv")
	case "services/3":
		return last == "init" || last == "oom_kill_disable" || last == "privileged" || last == "read_only" || last == "stdin_open" || last == "tty"
	case "services/4":
		return at[2] == "healthcheck" && last == "disable"
	case "services/5", "services/6":
		return last == "required" || last == "restart" || last == "read_only" || last == "nocopy" || last == "use_service_name_alias"
	}
	return false
}
