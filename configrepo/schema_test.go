package configrepo

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	stella "github.com/stella-ops/stella"
)

func compileSchema(t *testing.T, kind string) *jsonschema.Schema {
	t.Helper()
	text, err := Schema(kind)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("mem:///"+kind, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mem:///" + kind)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON is a document as an editor's YAML support sees it, in which a date is
// text.
func asJSON(t *testing.T, src string) any {
	t.Helper()
	var node yaml.Node
	if err := yaml.Load([]byte(src), &node); err != nil {
		t.Fatal(err)
	}
	var untime func(n *yaml.Node)
	untime = func(n *yaml.Node) {
		if n.Tag == "!!timestamp" {
			n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle
		}
		for _, c := range n.Content {
			untime(c)
		}
	}
	untime(&node)
	var v any
	if err := node.Decode(&v); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// schemaPaths is where each kind is read from in these tests.
func schemaPaths() map[string]string {
	return map[string]string{
		KindProject: ProjectPath, KindEnvironment: "envs/production/environment.yaml",
		KindRelease: "envs/production/app/release.yaml", KindBaseline: "baselines/production.yaml",
	}
}

// TestSchemaAgreesWithTheReader changes one thing at a time in a good document:
// what the reader says of it, the schema says too.
func TestSchemaAgreesWithTheReader(t *testing.T) {
	changes := map[string][][2]string{
		KindProject: {
			{"name: shop", "nam: shop"},
			{"name: shop", "name: Shop"},
			{"name: shop", "name: 1"},
			{"name: shop", ""},
			{"kind: Project", "kind: Environment"},
			{"stella/v1", "stella/v2"},
			{"branch: main", "branch: -x"},
			{"branch: main", "branch: true"},
			{`root: ""`, "root: /abs"},
			{`root: ""`, "root: ../x"},
			{`root: ""`, "root: deploy/shop"},
			{`">=0.1"`, `"0.1"`},
			{`["[skip ci]"]`, `"[skip ci]"`},
			{"minVersions: 5", "minVersions: 0"},
			{"minVersions: 5", "minVersions: 1001"},
			{"minVersions: 5", "minVersions: '5'"},
			{"minVersions: 5", "maxVersions: 5"},
			{"plainHTTP: [127.0.0.1:5000]", "plainHTTP: {}"},
		},
		KindEnvironment: {
			{"name: production", ""},
			{"protected: true", "protected: 1"},
			{"protected: true", "protected: 'true'"},
			{"protected: true", "allowRoot: false"},
			{"apply: anyone", "apply: serve"},
			{"apply: anyone", "apply: me"},
			{"address: web-1.example.com", "address: a/b"},
			{"address: web-1.example.com", "address: 192.0.2.1"},
			{"docker: {host: unix:///var/run/docker.sock}", "host: {root: /srv/shop}"},
			{"docker: {host: unix:///var/run/docker.sock}", ""},
			{"docker: {host: unix:///var/run/docker.sock}", "host: {root: srv}"},
			{"docker: {host: unix:///var/run/docker.sock}", "docker: {host: unix:///x}\n  host: {root: /srv}"},
			{"docker: {host: unix:///var/run/docker.sock}", "docker: {}"},
			{"docker: {host: unix:///var/run/docker.sock}", "docker: {context: web-1, project: shop_1}"},
			{"docker: {host: unix:///var/run/docker.sock}", "docker: {context: web 1}"},
			{"docker: {host: unix:///var/run/docker.sock}", "docker: {host: unix:///x, context: web-1}"},
			{"protected: true", "allow: [privileged, devices]"},
			{"protected: true", "allow: [privileged, device]"},
			{"protected: true", "bindRoots: [/srv/shop]"},
			{"protected: true", "bindRoots: [srv]"},
			{"protected: true", "profiles: [debug]"},
			{"pause: 10s", "updateOrder: start-first"},
			{"pause: 10s", "updateOrder: first"},
			{"pause: 10s", "keepPrevious: false"},
			{"pause: 10s", "keepPrevious: 0"},
			{`"8081"`, "8081"},
			{"HTTP_PORT", "HTTP-PORT"},
			{"{role: web}", "{role: [web]}"},
			{"rolling", "rollin"},
			{"batch: 1", "batch: 25%"},
			{"batch: 1", "batch: 0"},
			{"batch: 1", "batch: 101%"},
			{"batch: 1", "batch: '1'"},
			{"pause: 10s", "pause: 10"},
			{"pause: 10s", "pause: soon"},
			{"onFailure: rollback", "onFailure: pause"},
			{"status: 200", "status: 99"},
			{"tcp:", "udp:"},
			{`["/app", "selftest"]`, "[]"},
			{"mode: report", `mode: "off"`},
			{"/environment/LOG_LEVEL", "environment"},
			{"2027-01-31", "2027-01-31T10:00:00Z"},
			{"2027-01-31", "soon"},
			{"resource: \"service/api\"\n    path: /environment/LOG_LEVEL\n    ", ""},
			{"version: 2.0.0, ", ""},
		},
		KindRelease: {
			{"version: 2.4.0", ""},
			{"version: 2.4.0", `version: ""`},
			{"version: 2.4.0", "version: 2.4"},
			{"version: 2.4.0", "version: a b"},
			{"registry.example.com/shop/api:2.4.0", "shop:2.4.0"},
			{"registry.example.com/shop/api:2.4.0", "registry.example.com/Shop:2.4.0"},
			{"  api:", "  API:"},
			{"  api:", "  api: 1\n  other:"},
			{"components:\n", "component:\n"},
			{"LOG_LEVEL: info", "LOG_LEVEL: 1"},
			{"from: production-40", "from: production"},
			{"targets: [web-1]", "targets: []"},
			{"targets: [web-1]", "target: web-1"},
			{"until: 2026-12-01", "until: never"},
		},
		KindBaseline: {
			{"tree: 9ab2", "tree: 9AB2"},
			{"desired: sha256:", "desired: sha512:"},
			{"capturedAt: 2026-11-23T10:00:00Z", "capturedAt: 2026-11-23"},
			{"deployment: production-41", "deployment: 41x"},
			{"reason:", "reasons:"},
			{"commit: 6f1c", "commit: 6f"},
		},
	}
	for kind, name := range schemaPaths() {
		schema := compileSchema(t, kind)
		tree := goldenTree(t)
		good := tree.files[name]
		if err := schema.Validate(asJSON(t, good)); err != nil {
			t.Errorf("%s: the schema refuses a good document: %v", kind, err)
		}
		for _, change := range changes[kind] {
			if !strings.Contains(good, change[0]) {
				t.Errorf("%s: there is no %q", kind, change[0])
			}
			tree.files[name] = strings.Replace(good, change[0], change[1], 1)
			read := readAny(t.Context(), tree, name)
			said := schema.Validate(asJSON(t, tree.files[name]))
			if (read == nil) != (said == nil) {
				t.Errorf("%s: %q for %q: the reader says %v, the schema says %v", kind, change[1], change[0], read, said)
			}
		}
	}
}

// TestSchemaHasTheFieldsOfTheReader asks the reader of each field of the schema,
// and looks that objects are closed: what one knows, the other does.
func TestSchemaHasTheFieldsOfTheReader(t *testing.T) {
	for kind, name := range schemaPaths() {
		text, err := Schema(kind)
		if err != nil {
			t.Fatal(err)
		}
		var schema map[string]any
		if err := json.Unmarshal(text, &schema); err != nil {
			t.Fatal(err)
		}
		properties, ok := schema["properties"].(map[string]any)
		if !ok || schema["additionalProperties"] != false {
			t.Fatalf("%s: not a closed object", kind)
		}
		tree := goldenTree(t)
		for field, sub := range properties {
			described, ok := sub.(map[string]any)
			if !ok || described["description"] == "" || described["description"] == nil {
				t.Errorf("%s: %s has no description", kind, field)
			}
			tree.files[name] = field + ": [[]]\n"
			if err := readAny(t.Context(), tree, name); strings.Contains(err.Error(), "unknown field") {
				t.Errorf("%s: the reader does not know %s: %v", kind, field, err)
			}
		}
		// And the other way round: the reader lists its fields.
		tree.files[name] = "zzzzzzzzzzzzzzzz: x\n"
		_, list, _ := strings.Cut(readAny(t.Context(), tree, name).Error(), "unknown field; want one of ")
		list, _, _ = strings.Cut(list, "\n")
		fields := strings.Split(list, ", ")
		if len(fields) != len(properties) {
			t.Errorf("%s: the reader knows %v, the schema %d", kind, fields, len(properties))
		}
		for _, field := range fields {
			if properties[field] == nil {
				t.Errorf("%s: the schema does not know %s", kind, field)
			}
		}
	}
}

// TestSchemaIsPublishedAsItIs holds the schemas against the copies that editors
// are pointed to. After -update, read what changed.
func TestSchemaIsPublishedAsItIs(t *testing.T) {
	for _, kind := range Kinds() {
		got, err := Schema(kind)
		if err != nil {
			t.Fatal(err)
		}
		name := "testdata/schema/" + strings.ToLower(kind) + ".json"
		if *update {
			if err := os.WriteFile(name, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, got) {
			t.Errorf("%s differs from Schema(%s); run the test with -update and read the difference", name, kind)
		}
	}
}

func TestSchemaOfAnotherKindIsNotFound(t *testing.T) {
	for _, kind := range []string{"", "project", "Deployment", "\x1b[2J"} {
		_, err := Schema(kind)
		if !errors.Is(err, stella.ErrNotFound) || !strings.Contains(err.Error(), "Project, Environment, Release, Baseline") || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: got %v", kind, err)
		}
	}
	if !slices.Equal(Kinds(), []string{"Project", "Environment", "Release", "Baseline"}) {
		t.Errorf("got %v", Kinds())
	}
}
