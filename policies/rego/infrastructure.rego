# An example of policies in Rego. `data.lighthouse.decisions` is a set of refusals; an empty set leaves the call to
# the rules. Each names its rule, says "review" or "block", and tells in one sentence why and what to do instead.
package lighthouse

import rego.v1

destructive := {"destroy", "taint", "force-unlock"}

decisions contains {
	"decision": "block",
	"rule": "infrastructure.destroy",
	"risk": "critical",
	"reason": "Destroying infrastructure is refused; plan the change and have it applied by the pipeline.",
} if {
	some command in input.commands
	command.program in {"terraform", "tofu"}
	command.arguments[0] in destructive
}

decisions contains {
	"decision": "review",
	"rule": "infrastructure.unpinned",
	"risk": "high",
	"reason": "A package from an address has no version that can be checked; name a release of the registry.",
} if {
	some command in input.commands
	command.program in {"pip", "pip3", "npm", "pnpm", "yarn"}
	some argument in command.arguments
	regex.match(`^(git\+|https?:|github:)`, argument)
}

decisions contains {
	"decision": "block",
	"rule": "infrastructure.state",
	"risk": "high",
	"reason": "The state of the infrastructure is written by its tool alone; change the configuration instead.",
} if {
	input.tool_name in {"Write", "Edit", "MultiEdit"}
	endswith(input.tool_input.file_path, ".tfstate")
}
