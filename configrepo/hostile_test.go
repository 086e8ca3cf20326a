package configrepo

import (
	"fmt"
	"strings"
	"testing"

	stella "github.com/stella-ops/stella"
)

// numbered joins n texts made from a number.
func numbered(n int, text func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(text(i))
	}
	return b.String()
}

// hostileTexts are documents that were made to hurt, with what is said of them.
func hostileTexts() map[string][2]string {
	const kib = 1 << 10
	envHead := "apiVersion: stella/v1\nkind: Environment\nname: production\n"
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n" + numbered(20, func(i int) string {
		return fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", 'b'+i, 'b'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i, 'a'+i)
	})
	return map[string][2]string{
		"100,000 keys":                  {numbered(100_000, func(i int) string { return fmt.Sprintf("k%d: v\n", i) }), "more than 100000 values"},
		"49,000 keys":                   {numbered(49_000, func(i int) string { return fmt.Sprintf("k%d: v\n", i) }), "has 49000 keys"},
		"5,001 variables":               {"variables:\n" + numbered(5_001, func(i int) string { return fmt.Sprintf(" k%d: v\n", i) }), "variables: has 5001 keys"},
		"5,000 unknown fields":          {numbered(5_000, func(i int) string { return fmt.Sprintf("k%d: v\n", i) }), "more problems"},
		"2,000 long unknown fields":     {numbered(2_000, func(i int) string { return fmt.Sprintf("%0400d: v\n", i) }), "more problems"},
		"5,000 times the same key":      {numbered(5_000, func(int) string { return "name: v\n" }), "already set in line 1"},
		"a list of 500,000":             {"targets: [" + strings.Repeat("x,", 500*kib) + "]", "more than 100000 values"},
		"a list of 90,000":              {"targets: [" + strings.Repeat("x,", 90_000) + "]", "has 90000 items"},
		"90,000 empty lists":            {"targets: [" + strings.Repeat("[],", 45_000) + "]", "has 45000 items"},
		"65 lists in one another":       {"targets: " + strings.Repeat("[", 65) + strings.Repeat("]", 65), "max depth"},
		"10,001 lists in one another":   {strings.Repeat("[", 10_001), "max depth"},
		"100,000 lists in one another":  {strings.Repeat("[", 100_000), "max depth"},
		"10,001 maps in one another":    {strings.Repeat("{a: ", 10_001), "max depth"},
		"200,000 dashes":                {strings.Repeat("- ", 200_000), "more than 100000 values"},
		"40,000 dashes":                 {strings.Repeat("- ", 40_000), "max depth"},
		"1,000 levels of indentation":   {numbered(1_000, func(i int) string { return strings.Repeat(" ", i) + "a:\n" }), "max depth"},
		"an alias bomb":                 {bomb, "an alias"},
		"an alias of itself":            {"a: &a [*a]\n", "an alias"},
		"a merge bomb":                  {"a: &a {x: y}\n" + numbered(3_000, func(int) string { return "b: {<<: *a}\n" }), "a merge key"},
		"a line of 1 MiB":               {"name: " + strings.Repeat("x", MaxFileBytes-6), "is 1048570 characters long"},
		"a key of 1 MiB":                {strings.Repeat("x", MaxFileBytes-10) + ": x", "unknown field"},
		"a quoted key of 1 MiB":         {`? "` + strings.Repeat("x", MaxFileBytes-10) + `"`, "unknown field"},
		"quotes without end":            {`name: "` + strings.Repeat("x ", 500*kib), "unexpected end of stream"},
		"1 MiB of escapes":              {`name: "` + strings.Repeat(`\x41`, 200*kib) + `"`, "characters long"},
		"1 MiB of spaces":               {strings.Repeat(" ", MaxFileBytes), "is empty"},
		"1 MiB of newlines":             {strings.Repeat("\n", 90_000), "is empty"},
		"1 MiB of comments":             {strings.Repeat("#"+strings.Repeat("x", 100)+"\n", 10_000), "is empty"},
		"1 MiB of tags":                 {strings.Repeat("!", MaxFileBytes), ""},
		"an anchor of 1 MiB":            {"name: &" + strings.Repeat("a", MaxFileBytes-10) + " x", "an anchor"},
		"1 MiB of carriage returns":     {strings.Repeat("\r", MaxFileBytes), "carriage return"},
		"lines that end with CR only":   {"apiVersion: stella/v1\rkind: Environment\rname: x\r", "1:22: a carriage return without a newline"},
		"a NUL":                         {envHead + "x\x00: y", "4:2: a control character (U+0000)"},
		"a NUL that is escaped":         {envHead + `"x\0": y`, "a NUL character"},
		"bytes that are not UTF-8":      {envHead + "address: caf\xe9", "4:13: is not UTF-8"},
		"UTF-16":                        {"\xff\xfea\x00:\x00", "1:1: is not UTF-8"},
		"a byte order mark":             {"\ufeff" + envHead, "1:1: a byte order mark"},
		"a byte order mark further on":  {envHead + "\ufeffprotected: true", "4:1: a byte order mark"},
		"a line break nobody sees":      {envHead + "apply: anyone\u2028protected: false\n", "4:14: a line break that editors do not show (U+2028)"},
		"a next line character":         {envHead + "apply: anyone\u0085protected: false\n", "(U+0085)"},
		"an escape sequence":            {envHead + "apply: \x1b[2Janyone", "(U+001B)"},
		"tabs for indentation":          {envHead + "targets:\n\t- name: x", "5:1: is not YAML"},
		"durations beyond all":          {envHead + "verify: {timeout: " + strings.Repeat("9", 100_000) + "h}", "verify.timeout: is not a duration"},
		"a number beyond all":           {envHead + "rollout: {strategy: rolling, batch: " + strings.Repeat("9", 100_000) + "}", "rollout.batch: is out of range"},
		"1,000 targets and 200 checks":  {envHead + "targets:\n" + numbered(1_000, func(i int) string { return fmt.Sprintf("- {name: t%d, host: {root: /s}}\n", i) }) + "verify:\n  checks:\n" + numbered(200, func(i int) string { return fmt.Sprintf("  - {name: c%d, tcp: {address: '${target.address}:1'}}\n", i) }), "more problems"},
		"a document after the document": {envHead + "---\n" + strings.Repeat("[", 10_000), "max depth"},
		"20,000 documents":              {strings.Repeat("---\n", 20_000), "a second document"},
		"a pattern made to backtrack":   {envHead + "drift: {ignore: [{resource: '" + strings.Repeat("*a", 149) + "', path: '/" + strings.Repeat("a", 400) + "~'}]}", "is not a JSON Pointer"},
		"a schedule that is endless":    {envHead + "drift: {schedule: '" + strings.Repeat("0-59/1,", 13) + "0 0 30 2 *'}", "drift.schedule"},
	}
}

// TestHostileFilesEndInAnErrorInTime: the time and memory of each are measured.
func TestHostileFilesEndInAnErrorInTime(t *testing.T) {
	for name, c := range hostileTexts() {
		t.Run(name, func(t *testing.T) {
			tree := newMapTree(map[string]string{
				"envs/production/environment.yaml": c[0], "envs/production/app/release.yaml": c[0],
			})
			said := ""
			for file := range tree.files {
				bounded(t, func() {
					got := problemsIn(t, readAny(t.Context(), tree, file))
					if len(got) > 101 || len(got.Error()) > 100<<10 {
						t.Errorf("%d problems in %d bytes", len(got), len(got.Error()))
					}
					said += got.Error() + "\n"
				})
			}
			if !strings.Contains(said, c[1]) {
				t.Errorf("got %.600s, want %q", said, c[1])
			}
			if strings.ContainsAny(said, "\x00\x1b\r\u0085\u2028") {
				t.Errorf("%q is not fit for a terminal", said)
			}
			bounded(t, func() {
				if _, err := SetRelease([]byte(c[0]), "1.0.0", nil); err == nil {
					t.Error("SetRelease accepted it")
				}
			})
		})
	}
}

// TestLargeFilesAreRight: what is below the limits is read, in time.
func TestLargeFilesAreRight(t *testing.T) {
	src := "apiVersion: stella/v1\nkind: Release\ncomponents:\n" +
		numbered(5_000, func(i int) string {
			return fmt.Sprintf("  c%d: registry.example.com/shop/c%d:1@%s\n", i, i, digestA)
		})
	tree := newMapTree(map[string]string{"envs/production/app/release.yaml": src})
	bounded(t, func() {
		got, err := ReadRelease(t.Context(), tree, &Project{}, "production")
		if err != nil || len(got.Release.Components) != 5_000 {
			t.Errorf("got %v", err)
		}
	})
	bounded(t, func() {
		out, err := SetRelease([]byte(src), "2", map[string]stella.Artifact{"c4999": image(t, "registry.example.com/shop/c:2@"+digestB)})
		if err != nil || !strings.Contains(string(out), "c4999: registry.example.com/shop/c:2@"+digestB+"\n") {
			t.Errorf("got %v", err)
		}
	})
}

// TestNoProblemQuotesAValue: later, some of them are secrets.
func TestNoProblemQuotesAValue(t *testing.T) {
	const canary = "CANARYVALUE"
	tree := newMapTree(map[string]string{
		ProjectPath: "apiVersion: CANARYVALUE\nkind: CANARYVALUE\nname: CANARYVALUE\nbranch: -CANARYVALUE\nroot: /CANARYVALUE\n" +
			"requires: CANARYVALUE\ncommit: CANARYVALUE\nregistry: {backup: CANARYVALUE, plainHTTP: [CANARYVALUE]}\nretention: {minVersions: CANARYVALUE}\n" +
			"ledger: {ref: CANARYVALUE, repo: 'https://u:CANARYVALUE@h'}\nnope: CANARYVALUE\n",
		"envs/production/environment.yaml": "name: CANARYVALUE\nprotected: CANARYVALUE\napply: CANARYVALUE\nshared: [/CANARYVALUE, CANARYVALUE]\n" +
			"targets: [{name: CANARYVALUE, address: /CANARYVALUE, labels: {a: [CANARYVALUE]}, variables: {a: \"CANARYVALUE\\e\"}, host: {root: CANARYVALUE}, docker: {host: CANARYVALUE}}]\n" +
			"rollout: {strategy: CANARYVALUE, batch: CANARYVALUE, pause: CANARYVALUE, onFailure: CANARYVALUE}\n" +
			"verify: {checks: [{name: \"CANARYVALUE\\e\", http: {url: CANARYVALUE, status: CANARYVALUE}, tcp: {address: CANARYVALUE}, exec: {component: CANARYVALUE, command: CANARYVALUE}}]}\n" +
			"drift: {schedule: CANARYVALUE, mode: CANARYVALUE, ignore: [{resource: '[CANARYVALUE', path: CANARYVALUE, until: CANARYVALUE}]}\nirreversible: [{version: /CANARYVALUE}]\n",
		"envs/production/app/release.yaml": "version: /CANARYVALUE\ncomponents: {a: CANARYVALUE, b: *CANARYVALUE}\n",
		"baselines/production.yaml":        "environment: CANARYVALUE\ndeployment: CANARYVALUE\ncommit: CANARYVALUE\ncomponents: {a: CANARYVALUE}\nshared: {a: CANARYVALUE}\ndesired: CANARYVALUE\ncapturedAt: CANARYVALUE\ncapturedBy: [CANARYVALUE]\n",
	})
	for name := range tree.files {
		if got := problemsIn(t, readAny(t.Context(), tree, name)).Error(); strings.Contains(got, canary) {
			t.Errorf("a value is in\n%s", got)
		}
	}
}
