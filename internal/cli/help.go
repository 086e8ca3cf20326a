package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// exitsKey is where a command keeps the exit codes that its help explains.
const exitsKey = "stella/exits"

// exits notes the exit codes that a command can end with.
func exits(cmd *cobra.Command, codes []int) *cobra.Command {
	words := make([]string, len(codes))
	for i, c := range codes {
		words[i] = strconv.Itoa(c)
	}
	cmd.Annotations = map[string]string{exitsKey: strings.Join(words, " ")}
	return cmd
}

// help writes the help of a command to stdout: what it does, how it is called,
// an example, flags and exit codes.
func (a *App) help(cmd *cobra.Command, _ []string) {
	var b strings.Builder
	what := cmd.Long
	if what == "" {
		what = cmd.Short
	}
	fmt.Fprintf(&b, "%s\n\nUsage:\n", what)
	if cmd.HasAvailableSubCommands() && cmd.Args != nil && cmd.HasParent() || !cmd.HasParent() {
		fmt.Fprintf(&b, "  %s COMMAND [flags]\n", cmd.CommandPath())
	}
	if !isGroup(cmd) {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	helpCommands(&b, cmd)
	helpFlags(&b, "Flags:", cmd.LocalNonPersistentFlags())
	helpFlags(&b, "Flags everywhere:", cmd.Root().PersistentFlags())
	helpExits(&b, cmd)
	// Whoever asked may have left already: `stella --help | head`.
	_, _ = io.WriteString(a.process.Stdout, b.String())
}

// isGroup reports whether a command only groups others.
func isGroup(cmd *cobra.Command) bool {
	return cmd.HasSubCommands() && cmd.Annotations[exitsKey] == ""
}

func helpCommands(b *strings.Builder, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	width := 0
	for _, c := range cmd.Commands() {
		width = max(width, len(c.Name()))
	}
	section := func(title, id string) {
		head := "\n" + title + "\n"
		for _, c := range cmd.Commands() {
			if c.GroupID == id && c.IsAvailableCommand() {
				fmt.Fprintf(b, "%s  %-*s  %s\n", head, width, c.Name(), c.Short)
				head = ""
			}
		}
	}
	for _, g := range cmd.Groups() {
		section(g.Title, g.ID)
	}
	section("Commands:", "")
}

func helpFlags(b *strings.Builder, title string, flags *pflag.FlagSet) {
	if text := flags.FlagUsages(); strings.TrimSpace(text) != "" {
		fmt.Fprintf(b, "\n%s\n%s", title, text)
	}
}

// helpExits writes the exit codes of a command, and all of them for one that
// only groups others.
func helpExits(b *strings.Builder, cmd *cobra.Command) {
	codes := strings.Fields(cmd.Annotations[exitsKey])
	if len(codes) == 0 {
		for code := range exitCodeLast + 1 {
			codes = append(codes, strconv.Itoa(code))
		}
	}
	b.WriteString("\nExit codes:\n")
	for _, word := range codes {
		if code, err := strconv.Atoi(word); err == nil {
			fmt.Fprintf(b, "  %d  %s\n", code, exitMeaning(code))
		}
	}
}
