package cli

import "github.com/spf13/cobra"

func newRegistryCmd(a *App) *cobra.Command {
	cmd := group("registry", "Registries, where artifacts have to be when a rollback needs them: retention, restore",
		newRegistryRetentionCmd(a), newRegistryRestoreCmd(a))
	cmd.Example = "  stella registry restore --artifact registry.example.com/shop/api:2.3.0 --from backup\n  stella registry retention show production\n  stella registry retention apply --dry-run"
	return cmd
}
