package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/stella-ops/stella/configrepo"
)

func newSchemaCmd(a *App) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "schema KIND",
		Short:   "Print the JSON Schema of a kind of file, for editors",
		Long:    "Print the JSON Schema of a kind of file of the config repository: " + strings.Join(configrepo.Kinds(), ", ") + ".",
		Example: "  stella schema Environment > environment.schema.json",
		Args:    exactlyOne("one of " + strings.Join(configrepo.Kinds(), ", ")),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.printSchema(cmd, args[0]) },
	}
	cmd.ValidArgs = configrepo.Kinds()
	return exits(cmd, exitsOfReading())
}

func (a *App) printSchema(cmd *cobra.Command, kind string) error {
	for _, known := range configrepo.Kinds() {
		if !strings.EqualFold(kind, known) {
			continue
		}
		schema, err := configrepo.Schema(known)
		if err != nil {
			return err
		}
		a.printed = true
		_, err = a.out().W.Write(schema)
		return printError(err)
	}
	return usage(cmd, "unknown kind %q: want one of %s", kind, strings.Join(configrepo.Kinds(), ", "))
}
