package cli

import (
	"fmt"
	"strings"

	"github.com/stella-ops/stella"
	"github.com/stella-ops/stella/internal/safe"
	"github.com/stella-ops/stella/reconciler"
)

// Bounds of a report in Markdown: forges cut or refuse comments of more than
// 65,536 characters.
const (
	mostMarkdown = 60_000 // bytes
	mostCode     = 120    // runes of one value
)

// markdownReport is for a comment on a pull request or a job's summary. All
// that comes from a repository or a target stands in code spans, where neither
// markup nor mentions are read.
func markdownReport(d detected) []byte {
	var b strings.Builder
	drifted, unknown := 0, 0
	for _, env := range d.environments {
		switch {
		case !wholly(env):
			unknown++
		case env.Drifted:
			drifted++
		}
	}
	fmt.Fprintf(&b, "## Drift: %s\n", markdownSum(len(d.environments), drifted, unknown))
	for i, env := range d.environments {
		section := markdownEnvironment(env)
		if b.Len()+len(section) > mostMarkdown {
			fmt.Fprintf(&b, "\n… and %d more: `stella drift detect` shows all.\n", len(d.environments)-i)
			break
		}
		b.WriteString(section)
	}
	return []byte(b.String())
}

func markdownSum(all, drifted, unknown int) string {
	var parts []string
	if drifted > 0 {
		parts = append(parts, fmt.Sprintf("in %d of %s", drifted, count(all, "environment")))
	}
	if unknown > 0 {
		parts = append(parts, fmt.Sprintf("could not be told of %d of %s", unknown, count(all, "environment")))
	}
	if len(parts) == 0 {
		return "none in " + count(all, "environment")
	}
	return strings.Join(parts, ", ")
}

func markdownEnvironment(env reconciler.Diff) string {
	var b strings.Builder
	n := sumUp(env.Targets)
	fmt.Fprintf(&b, "\n### %s: %s\n", code(string(env.Environment)), markdownTitle(env, n))
	if env.Error != "" {
		fmt.Fprintf(&b, "\nCould not tell: %s\n", code(env.Error))
	}
	markdownUnread(&b, env)
	markdownTable(&b, env, n)
	notes := asides(env)
	for i, aside := range notes {
		if i == mostUnread {
			fmt.Fprintf(&b, "\n- and %d more", len(notes)-i)
			break
		}
		fmt.Fprintf(&b, "\n- %s", code(aside))
	}
	if len(notes) > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}

// mostUnread is how many targets are listed with why they could not be read.
const mostUnread = 20

func markdownUnread(b *strings.Builder, env reconciler.Diff) {
	n := 0
	for _, t := range env.Targets {
		if t.Error == "" {
			continue
		}
		if n++; n <= mostUnread {
			fmt.Fprintf(b, "\n- %s could not be read: %s", code(t.Target), code(t.Error))
		}
	}
	if n > mostUnread {
		fmt.Fprintf(b, "\n- and %d more", n-mostUnread)
	}
	if n > 0 {
		b.WriteByte('\n')
	}
}

func markdownTitle(env reconciler.Diff, n tally) string {
	switch {
	case n.counted > 0 && n.unread > 0:
		return fmt.Sprintf("%s on %d of %s, %d could not be read", count(n.counted, "difference"), n.differ, count(n.targets, "target"), n.unread)
	case n.counted > 0:
		return fmt.Sprintf("%s on %d of %s", count(n.counted, "difference"), n.differ, count(n.targets, "target"))
	case env.Error != "":
		return "could not tell"
	case n.unread > 0:
		return fmt.Sprintf("%d of %s could not be read", n.unread, count(n.targets, "target"))
	}
	return "no drift"
}

// markdownTable has a row for each difference that counts, as many as there is
// room for.
func markdownTable(b *strings.Builder, env reconciler.Diff, n tally) {
	if n.counted == 0 {
		return
	}
	b.WriteString("\n| Target | Severity | Resource | Difference | Wanted | Runs |\n|---|---|---|---|---|---|\n")
	written := 0
	for _, t := range env.Targets {
		for _, c := range t.Changes {
			if c.Ignored {
				continue
			}
			if b.Len() > mostMarkdown/2 {
				fmt.Fprintf(b, "\n… and %d more: `stella drift detect` shows all.\n", n.counted-written)
				return
			}
			written++
			what := string(c.Class)
			if c.Path != "" {
				what = code(c.Path) + " " + what
			}
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", code(t.Target), c.Severity, code(string(c.Resource)), what, codeValue(c, c.Desired), codeValue(c, c.Live))
		}
	}
	if n.ignored > 0 {
		fmt.Fprintf(b, "\nIgnored by rules: %d.\n", n.ignored)
	}
}

// codeValue is one side of a difference. Of a whole resource that it has, it
// says no more.
func codeValue(c stella.Change, v any) string {
	switch {
	case v == nil:
		return "–"
	case c.Path == "" && !c.Secret:
		return "there"
	}
	return code(value(v))
}

// code is untrusted text as a code span: in one line, bounded, with a fence
// longer than any run of backticks in it. A vertical bar is written as an escape:
// in a table it would end the cell, and how that is to be prevented forges do
// not agree on.
func code(s string) string {
	s = strings.ReplaceAll(safe.Clip(safe.Line(s), mostCode), "|", `\u007c`)
	longest, run := 0, 0
	for _, r := range s {
		if run++; r != '`' {
			run = 0
		}
		longest = max(longest, run)
	}
	if strings.TrimSpace(s) == "" {
		return "(empty)"
	}
	fence := strings.Repeat("`", longest+1)
	if longest > 0 {
		s = " " + s + " " // which a code span drops again
	}
	return fence + s + fence
}
