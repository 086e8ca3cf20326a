package configrepo

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	stella "github.com/stella-ops/stella"
	"github.com/stella-ops/stella/drift"
)

const (
	composeAt     = "envs/prod/app/compose.yaml"
	releaseAt     = "envs/prod/app/release.yaml"
	environmentAt = "envs/prod/environment.yaml"
)

// liveApp is someApp with other files; a file's name is below envs/prod/app.
func liveApp(files map[string]string) map[string]string {
	all := someApp()
	for name, text := range files {
		if name == "environment.yaml" {
			all[environmentAt] = text
			continue
		}
		all["envs/prod/app/"+name] = text
	}
	return all
}

// fieldsOfWeb renders and returns the fields of service/web on the first target.
func fieldsOfWeb(t *testing.T, files map[string]string) map[string]any {
	t.Helper()
	d, err := renderFiles(t.Context(), files)
	if err != nil {
		t.Fatalf("%v\n%s", err, files[composeAt])
	}
	r, _ := d.Targets[0].State.Resource("service/web")
	return r.Fields
}

// absent is a value that is not there.
type absent struct{}

// withValue returns fields with another value at a pointer.
func withValue(fields map[string]any, pointer string, value any) map[string]any {
	segments, _ := drift.ParsePointer(pointer)
	out, _ := copyValue(fields).(map[string]any)
	var at any = out
	for _, s := range segments[:len(segments)-1] {
		switch v := at.(type) {
		case map[string]any:
			if v[s] == nil {
				v[s] = map[string]any{}
			}
			at = v[s]
		case []any:
			at = v[s[0]-'0']
		}
	}
	last := segments[len(segments)-1]
	switch v := at.(type) {
	case map[string]any:
		if _, gone := value.(absent); gone {
			delete(v, last)
		} else {
			v[last] = value
		}
	case []any:
		v[last[0]-'0'] = value
	}
	return out
}

// placeIn places fields in the app of files, and returns the files after.
func placeIn(ctx context.Context, files map[string]string, before, after map[string]any) (map[string]string, []Place, error) {
	tree := filesTree(files)
	p, err := ReadProject(ctx, tree)
	if err != nil {
		return nil, nil, err
	}
	e, err := ReadEnvironment(ctx, tree, p, "prod")
	if err != nil {
		return nil, nil, err
	}
	r, err := ReadRelease(ctx, tree, p, "prod")
	if err != nil {
		return nil, nil, err
	}
	places, err := PlaceLive(ctx, tree, p, e, r, "web", before, after)
	out := maps.Clone(files)
	for _, place := range places {
		out[place.Path] = string(place.Content)
	}
	return out, places, err
}

func TestPlaceLiveWritesWhatRunsWhereItIsWritten(t *testing.T) {
	const release = "apiVersion: stella/v1\nkind: Release\nversion: 1.0.0\ncomponents:\n  web: registry.example.com/shop/web:1.0.0@" + someDigest + "\n"
	for _, c := range []struct {
		name    string
		files   map[string]string
		pointer string
		value   any
		at      string // the file that changes
		want    string
	}{
		{
			"a variable in a mapping, with a comment and quotes",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment:\n      # how much it says\n      LEVEL: 'info' # usually\n      OTHER: 1\n"},
			"/environment/LEVEL", "debug", composeAt,
			"services:\n  web:\n    environment:\n      # how much it says\n      LEVEL: 'debug' # usually\n      OTHER: 1\n",
		},
		{
			"a variable that looks like a number",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment: {PORT: 8080, B: x}\n"},
			"/environment/PORT", "9090", composeAt, "services:\n  web:\n    environment: {PORT: \"9090\", B: x}\n",
		},
		{
			"a value with a dollar sign, a quote and a tab",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment:\n      A: x\n"},
			"/environment/A", "$HOME \"x\"\t${y}", composeAt, "services:\n  web:\n    environment:\n      A: \"$$HOME \\\"x\\\"\\t$${y}\"\n",
		},
		{
			"a variable in a list",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment:\n    - A=1\n    - \"LEVEL=info\"   # why\n    - B\nx-y: 1\n", "release.yaml": release + "variables: {B: b}\n"},
			"/environment/LEVEL", "a b", composeAt, "services:\n  web:\n    environment:\n    - A=1\n    - \"LEVEL=a b\"   # why\n    - B\nx-y: 1\n",
		},
		{
			"a variable that is passed on by name",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment:\n    - B\n", "release.yaml": release + "variables: {B: b, C: c} # of all\n"},
			"/environment/B", "x", releaseAt, release + "variables: {B: x, C: c} # of all\n",
		},
		{
			"a variable that comes from ${VARIABLE}",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment: {LEVEL: \"${LEVEL}\"}\n", "release.yaml": release + "variables:\n  LEVEL: info\n"},
			"/environment/LEVEL", "debug", releaseAt, release + "variables:\n  LEVEL: debug\n",
		},
		{
			"a part of a value that comes from ${VARIABLE}",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment: {URL: \"http://${HOST}:80/$$\"}\n", "release.yaml": release + "variables:\n  HOST: a\n"},
			"/environment/URL", "http://b.example.com:80/$", releaseAt, release + "variables:\n  HOST: b.example.com\n",
		},
		{
			"a value that ${VARIABLE} can not give",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment: {URL: \"http://${HOST}:80/\"}\n", "release.yaml": release + "variables:\n  HOST: a\n"},
			"/environment/URL", "unix:/run/a", composeAt, "services:\n  web:\n    environment: {URL: \"unix:/run/a\"}\n",
		},
		{
			"a default becomes a variable",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment:\n      LEVEL: ${LEVEL:-info}\n"},
			"/environment/LEVEL", "debug", releaseAt, release + "variables:\n  LEVEL: debug\n",
		},
		{
			"a variable that nobody wrote",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment:\n      A: 1\n\n# the end\n"},
			"/environment/NEW", "x", composeAt, "services:\n  web:\n    environment:\n      A: 1\n      NEW: x\n\n# the end\n",
		},
		{
			"a first variable",
			map[string]string{"compose.yaml": "services:\n  web:\n    image: ignored\n"},
			"/environment",
			map[string]any{"NEW": "x y"},
			composeAt, "services:\n  web:\n    image: ignored\n    environment:\n      NEW: \"x y\"\n",
		},
		{
			"a first variable of an empty service",
			map[string]string{"compose.yaml": "services:\n  web: {}\n"},
			"/environment",
			map[string]any{"NEW": "x"},
			composeAt, "services:\n  web: {environment: {NEW: x}}\n",
		},
		{
			"a variable that is gone",
			map[string]string{"compose.yaml": "services:\r\n  web:\r\n    environment:\r\n      A: 1\r\n      B: 2\r\n"},
			"/environment/A",
			absent{},
			composeAt, "services:\r\n  web:\r\n    environment:\r\n      B: 2\r\n",
		},
		{
			"the last variable is gone",
			map[string]string{"compose.yaml": "services:\n  web:\n    image: x\n    environment:\n      A: 1\n"},
			"/environment",
			absent{},
			composeAt, "services:\n  web:\n    image: x\n",
		},
		{
			"a variable of a list is gone",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment: [A=1, B=2]\n"},
			"/environment/B",
			absent{},
			composeAt, "services:\n  web:\n    environment: [A=1]\n",
		},
		{
			"the last label of a list is gone",
			map[string]string{"compose.yaml": "services:\n  web:\n    labels: [a=b]\n    user: a\n"},
			"/labels",
			absent{},
			composeAt, "services:\n  web:\n    user: a\n",
		},
		{
			"the last line, without a newline, with CRLF",
			map[string]string{"compose.yaml": "services:\r\n  web:\r\n    environment:\r\n      A: 1"},
			"/environment/B", "2", composeAt, "services:\r\n  web:\r\n    environment:\r\n      A: 1\r\n      B: \"2\"",
		},
		{
			"a label in a list",
			map[string]string{"compose.yaml": "services:\n  web:\n    labels:\n      - a=b\n      - c=d\n"},
			"/labels/c", "e", composeAt, "services:\n  web:\n    labels:\n      - a=b\n      - c=e\n",
		},
		{
			"a word of a command",
			map[string]string{"compose.yaml": "services:\n  web:\n    command:\n    - serve   # always\n    - --fast\n"},
			"/command/1", "--slow", composeAt, "services:\n  web:\n    command:\n    - serve   # always\n    - \"--slow\"\n",
		},
		{
			"another command",
			map[string]string{"compose.yaml": "services:\n  web:\n    command:\n    - serve\n    user: a\n"},
			"/command",
			[]any{"serve", "a b", "$x"},
			composeAt, "services:\n  web:\n    command: [\"serve\", \"a b\", \"$$x\"]\n    user: a\n",
		},
		{
			"a command in one text",
			map[string]string{"compose.yaml": "services:\n  web:\n    command: serve 'a b'\n"},
			"/command/0", "run", composeAt, "services:\n  web:\n    command: [\"run\", \"a b\"]\n",
		},
		{
			"a command that nobody wrote",
			map[string]string{"compose.yaml": "services:\n  web:\n    user: a\n"},
			"/command",
			[]any{"serve"},
			composeAt, "services:\n  web:\n    user: a\n    command: [\"serve\"]\n",
		},
		{
			"the user",
			map[string]string{"compose.yaml": "services:\n  web:\n    user: \"1000\"\n"},
			"/user", "1001:1001", composeAt, "services:\n  web:\n    user: \"1001:1001\"\n",
		},
		{
			"the restart policy",
			map[string]string{"compose.yaml": "services:\n  web: {restart: always, user: a}\n"},
			"/restart", "no", composeAt, "services:\n  web: {restart: \"no\", user: a}\n",
		},
		{
			"the grace period",
			map[string]string{"compose.yaml": "services:\n  web:\n    stop_grace_period: 10s\n"},
			"/stopGracePeriodSeconds", 90.0, composeAt, "services:\n  web:\n    stop_grace_period: 1m30s\n",
		},
		{
			"an interval of the healthcheck",
			map[string]string{"compose.yaml": "services:\n  web:\n    healthcheck: {test: [CMD, a], interval: 10s, retries: 3}\n"},
			"/healthcheck/retries", 5.0, composeAt, "services:\n  web:\n    healthcheck: {test: [CMD, a], interval: 10s, retries: 5}\n",
		},
		{
			"the address of a short port",
			map[string]string{"compose.yaml": "services:\n  web:\n    ports:\n    - 127.0.0.1:${P}:80\n", "release.yaml": release + "variables: {P: \"81\"}\n"},
			"/ports/0/hostIP", "0.0.0.0", composeAt, "services:\n  web:\n    ports:\n    - \"0.0.0.0:${P}:80\"\n",
		},
		{
			"the address of a short port that has none",
			map[string]string{"compose.yaml": "services:\n  web:\n    ports: [\"81:80/udp\"]\n"},
			"/ports/0/hostIP", "::1", composeAt, "services:\n  web:\n    ports: [\"[::1]:81:80/udp\"]\n",
		},
		{
			"the published side of a long port",
			map[string]string{"compose.yaml": "services:\n  web:\n    ports:\n    - target: 80\n      published: \"81\"\n"},
			"/ports/0/published", "82", composeAt, "services:\n  web:\n    ports:\n    - target: 80\n      published: \"82\"\n",
		},
		{
			"the content of a file",
			map[string]string{"compose.yaml": "services:\n  web:\n    configs: [motd]\nconfigs:\n  motd: {file: ./config/motd}\n", "config/motd": "old\n"},
			"/configs/~1motd/content", "new\r\n\tx", "envs/prod/app/config/motd", "new\r\n\tx",
		},
		{
			"the content of a file that is no text any more",
			map[string]string{"compose.yaml": "services:\n  web:\n    configs: [motd]\nconfigs:\n  motd: {file: ./config/motd}\n", "config/motd": "old\n"},
			"/configs/~1motd/contentBase64", "AP8=", "envs/prod/app/config/motd", "\x00\xff",
		},
		{
			"a content that is written as a block",
			map[string]string{"compose.yaml": "services:\n  web:\n    configs: [motd]\nconfigs:\n  motd:\n    content: |\n      a\n      b\n  # more\n"},
			"/configs/~1motd/content", "a\n\n  $c\n", composeAt, "services:\n  web:\n    configs: [motd]\nconfigs:\n  motd:\n    content: |\n      a\n\n        $$c\n  # more\n",
		},
		{
			"a content that comes from a variable",
			map[string]string{"compose.yaml": "services:\n  web:\n    configs: [motd]\nconfigs:\n  motd: {environment: MOTD}\n", "release.yaml": release + "variables: {MOTD: hello}\n"},
			"/configs/~1motd/content", "a\nb\n", releaseAt, release + "variables: {MOTD: \"a\\nb\\n\"}\n",
		},
		{
			"the mode of a config in the short form",
			map[string]string{"compose.yaml": "services:\n  web:\n    configs:\n    - motd # of the day\nconfigs:\n  motd: {content: x}\n"},
			"/configs/~1motd/mode", "0400", composeAt, "services:\n  web:\n    configs:\n    - {source: motd, mode: \"0400\"} # of the day\nconfigs:\n  motd: {content: x}\n",
		},
		{
			"the owner of a config in the long form",
			map[string]string{"compose.yaml": "services:\n  web:\n    configs:\n    - source: motd\n      target: /etc/motd\n      mode: 0440\nconfigs:\n  motd: {content: x}\n"},
			"/configs/~1etc~1motd/uid", "1000", composeAt, "services:\n  web:\n    configs:\n    - source: motd\n      target: /etc/motd\n      mode: 0440\n      uid: \"1000\"\nconfigs:\n  motd: {content: x}\n",
		},
		{
			"a config that is gone",
			map[string]string{"compose.yaml": "services:\n  web:\n    configs:\n    - motd\n    - source: b\n      target: /b\nconfigs:\n  motd: {content: x}\n  b: {content: y}\n"},
			"/configs/~1b",
			absent{},
			composeAt, "services:\n  web:\n    configs:\n    - motd\nconfigs:\n  motd: {content: x}\n  b: {content: y}\n",
		},
		{
			"the last config is gone",
			map[string]string{"compose.yaml": "services:\n  web:\n    configs:\n    - motd\n    user: a\nconfigs:\n  motd: {content: x}\n"},
			"/configs/~1motd",
			absent{},
			composeAt, "services:\n  web:\n    configs: []\n    user: a\nconfigs:\n  motd: {content: x}\n",
		},
		{
			"the image of a component",
			map[string]string{"release.yaml": strings.Replace(release, "web: ", "\"web\":  ", 1)},
			"/image", "registry.example.com/shop/web:2.0.0@" + otherDigest, releaseAt,
			"apiVersion: stella/v1\nkind: Release\nversion: 1.0.0\ncomponents:\n  \"web\":  registry.example.com/shop/web:2.0.0@" + otherDigest + "\n",
		},
		{
			"what has no form of its own",
			map[string]string{"compose.yaml": "services:\n  web:\n    read_only: true # safe\n    cap_add: [A]\n"},
			"/read_only", false, composeAt, "services:\n  web:\n    read_only: false # safe\n    cap_add: [A]\n",
		},
		{
			"anchors elsewhere stay",
			map[string]string{"compose.yaml": "x-a: &a {A: 1}\nservices:\n  web:\n    environment: {<<: *a, B: 2}\n"},
			"/environment/B", "3", composeAt, "x-a: &a {A: 1}\nservices:\n  web:\n    environment: {<<: *a, B: \"3\"}\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := liveApp(c.files)
			before := fieldsOfWeb(t, files)
			after := withValue(before, c.pointer, c.value)
			fixConfigs(after)
			got, places, err := placeIn(t.Context(), files, before, after)
			if err != nil {
				t.Fatal(err)
			}
			if len(places) != 1 || places[0].Path != c.at {
				t.Fatalf("changed %+v, want %s", places, c.at)
			}
			if diff := cmp.Diff(c.want, got[c.at]); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.at, diff)
			}
			wanted := after
			if c.pointer == "/read_only" {
				wanted = withValue(after, "/read_only", absent{}) // false is what leaving it out says
			}
			if diff := cmp.Diff(wanted, fieldsOfWeb(t, got)); diff != "" {
				t.Errorf("renders otherwise (-want +got):\n%s", diff)
			}
		})
	}
}

// fixConfigs gives configs the digest of their content, as a target reports it.
func fixConfigs(fields map[string]any) {
	all, _ := fields["configs"].(map[string]any)
	for _, c := range all {
		config, _ := c.(map[string]any)
		if _, both := config["contentBase64"]; both {
			delete(config, "content")
		}
		delete(config, "digest")
		content, _ := contentOf(config)
		config["digest"] = contentDigest(content)
	}
}

func TestPlaceLiveSaysWhyThereIsNoPlace(t *testing.T) {
	const release = "apiVersion: stella/v1\nkind: Release\nversion: 1.0.0\ncomponents:\n  web: registry.example.com/shop/web:1.0.0@" + someDigest + "\n"
	for _, c := range []struct {
		name    string
		files   map[string]string
		pointer string
		value   any
		want    string
		hint    string
	}{
		{
			"an alias",
			map[string]string{"compose.yaml": "x-a: &a {A: 1}\nservices:\n  web:\n    environment: *a\n"},
			"/environment/A", "2",
			"is written with an anchor, an alias or a tag", "by hand",
		},
		{
			"an anchor",
			map[string]string{"compose.yaml": "services:\n  web:\n    environment: &a {A: 1}\n  two:\n    image: r.example.com/x:1@" + someDigest + "\n    environment: *a\n"},
			"/environment/A", "2",
			"is written with an anchor, an alias or a tag", "by hand",
		},
		{
			"a variable of a target", map[string]string{
				"environment.yaml": "apiVersion: stella/v1\nkind: Environment\nname: prod\ntargets:\n- name: web-1\n  variables: {PORT: \"1\"}\n  host: {root: /srv/shop}\n",
				"compose.yaml":     "services:\n  web:\n    environment: {PORT: \"${PORT}\"}\n",
			}, "/environment/PORT", "2", "a variable of target web-1 in environment.yaml", "by hand",
		},
		{
			"an env_file",
			map[string]string{"compose.yaml": "services:\n  web:\n    env_file: [a.env]\n", "a.env": "A=1\n"},
			"/environment/A",
			absent{},
			"it comes from a file that it names", "by hand",
		},
		{
			"a file that is shared", map[string]string{
				"environment.yaml": "apiVersion: stella/v1\nkind: Environment\nname: prod\nshared: [shared]\ntargets:\n- name: web-1\n  host: {root: /srv/shop}\n",
				"compose.yaml":     "services:\n  web:\n    configs: [motd]\nconfigs:\n  motd: {file: ../../../shared/motd}\n", "../../../shared/motd": "",
			}, "/configs/~1motd/content", "x", "is shared", "others use it too",
		},
		{
			"a file that nobody asked for",
			map[string]string{"compose.yaml": "services:\n  web:\n    configs: [motd]\nconfigs:\n  motd: {content: x}\n"},
			"/configs/~1other",
			map[string]any{"content": "x"},
			"no config of service web names", "reconcile prod",
		},
		{"an image that was changed on disk", nil, "/image", "registry.example.com/shop/web:1.0.0@" + someDigest + " (changed on disk)", "no image with a digest", "reconcile prod"},
		{"an image without a digest", nil, "/image", "registry.example.com/shop/web:1.0.0", "no image with a digest", "reconcile prod"},
		{
			"a command that is put together from variables",
			map[string]string{"compose.yaml": "services:\n  web:\n    command: serve ${LEVEL}\n", "release.yaml": release + "variables: {LEVEL: info}\n"},
			"/command/1", "debug", "is put together from variables", "by hand",
		},
		{
			"one port more",
			map[string]string{"compose.yaml": "services:\n  web:\n    ports: [\"80\"]\n"},
			"/ports",
			[]any{},
			"not the ones that are written", "reconcile prod",
		},
		{"volumes", nil, "/volumes", []any{map[string]any{"type": "volume"}}, "volumes of service web is not written by itself", "by hand"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := liveApp(c.files)
			if _, is := c.files["../../../shared/motd"]; is {
				delete(files, "envs/prod/app/../../../shared/motd")
				files["shared/motd"] = "old"
			}
			before := fieldsOfWeb(t, files)
			after := withValue(before, c.pointer, c.value)
			fixConfigs(after)
			_, _, err := placeIn(t.Context(), files, before, after)
			if !errors.Is(err, stella.ErrRefused) || !strings.Contains(err.Error(), c.want) || !strings.Contains(stella.Hint(err), c.hint) {
				t.Errorf("%v (%s)\nwant %q (%s)", err, stella.Hint(err), c.want, c.hint)
			}
		})
	}
}

// TestPlacesInSeveralFilesAreAllNamed: whoever calls decides what to do then.
func TestPlacesInSeveralFilesAreAllNamed(t *testing.T) {
	files := liveApp(map[string]string{"compose.yaml": "services:\n  web:\n    user: a\n    configs: [motd]\nconfigs:\n  motd: {file: motd}\n", "motd": "x"})
	before := fieldsOfWeb(t, files)
	after := withValue(withValue(before, "/user", "b"), "/configs/~1motd/content", "y")
	fixConfigs(after)
	_, places, err := placeIn(t.Context(), files, before, after)
	var names []string
	for _, p := range places {
		names = append(names, p.Path)
	}
	if want := []string{composeAt, "envs/prod/app/motd"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%v, %v; want %v", names, err, want)
	}
}
