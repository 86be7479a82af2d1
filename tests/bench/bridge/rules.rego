# The bridge's command rules for a policy server: what matching.py does with each rule, over rules that are data.
# A command arrives parsed, unwrapped and with its words sorted into options and operands, and every path judged:
# the bridge does all that itself, so here the policy server is given the easier part.
package lighthouse

rank := {"approve": 0, "review": 1, "block": 2}

words := ["approved", "escalate", "blocked"]

answer := {"decision": words[level], "rule": min({f.rule | some f in findings; rank[f.decision] == level})} if {
	level := max({rank[f.decision] | some f in findings})
}

findings contains found if some found in input.findings

findings contains found if {
	some command in input.commands
	some id, number in command.about
	rule := data.rules[id]
	speaks(rule, command, command.views[number])
	found := {"decision": rule.decision, "rule": id}
}

findings contains {"decision": path[kind], "rule": "path"} if {
	some command in input.commands
	some id, number in command.about
	rule := data.rules[id]
	rule.decision == "approve"
	view := command.views[number]
	speaks(rule, command, view)
	some [text, kind] in judged(rule, view)
	path := command.paths[text]
	path[kind] != "approve"
}

findings contains {"decision": "review", "rule": "command.unknown"} if {
	some command in input.commands
	not answered(command)
}

answered(command) if {
	some id, number in command.about
	speaks(data.rules[id], command, command.views[number])
}

speaks(rule, command, view) if {
	rule.decision != "approve"
	holds(rule, command, view)
}

speaks(rule, command, view) if {
	rule.decision == "approve"
	not unusable(rule, command)
	holds(rule, command, view)
	not strange_option(rule, view)
	not uncertain(rule, view)
	not too_many(rule, view)
	count(view.operands) >= rule.min_operands
	every value in view.values {
		value_fits(rule, value)
	}
	first := patterns(rule, view)
	every i, operand in view.operands {
		fits(rule, first, i, operand, view.dynamic[i])
	}
}

unusable(rule, command) if {
	command.problem
	count(rule.subcommands) > 0
}

holds(rule, command, view) if {
	when := rule.when
	when.piped in {null, command.piped}
	when.bare in {null, count(view.operands) == 0}
	option_given(rule, view)
	operand_given(when, view)
	searching(rule, view)
}

searching(rule, _) if not rule.when.pattern

searching(rule, view) if {
	not excluded(rule, view)
	rule.when.rooted in {null, view.rooted}
	some text in view.searched
	matches(rule.when.pattern, text)
}

excluded(rule, view) if {
	some option in view.narrowing
	listed(option, rule.when.without, rule.style)
}

option_given(rule, _) if count(rule.when.options) == 0

option_given(rule, view) if {
	some option in view.options
	listed(option, rule.when.options, rule.style)
}

operand_given(when, _) if not when.operand

operand_given(when, view) if {
	some i, operand in view.operands
	not view.dynamic[i]
	matches(when.operand, operand)
}

# An option is meant by a list that holds it, or, if it is long, a longer one it abbreviates.
listed(option, options, _) if option in options

listed(option, options, "gnu") if {
	startswith(option, "--")
	some long in options
	startswith(long, option)
}

strange_option(rule, view) if {
	rule.allow != null
	some option in view.options
	not option in rule.allow
	not option in rule.values
	not option in rule.writes
	not option in rule.texts
	not option in rule.prefixes
}

strange_option(rule, view) if {
	some option in view.options
	listed(option, rule.deny, rule.style)
}

uncertain(rule, view) if {
	not rule.dynamic
	view.uncertain_dynamic
}

uncertain(rule, view) if {
	not rule.dynamic
	not rule.globs
	view.uncertain_globbed
}

too_many(rule, view) if {
	rule.max_operands != null
	count(view.operands) > rule.max_operands
}

default patterns(_, _) := 0

patterns(rule, view) := rule.patterns if {
	every option in view.options {
		not option in rule.pattern_options
	}
}

fits(_, _, _, _, true)

fits(rule, first, i, operand, false) if {
	i < first
	matches_or_free(rule, "pattern", operand)
}

fits(rule, first, i, operand, false) if {
	i >= first
	matches_or_free(rule, "operand", operand)
}

value_fits(rule, [name, _]) if not name in rule.pattern_options

value_fits(rule, [name, text]) if {
	name in rule.pattern_options
	matches_or_free(rule, "pattern", text)
}

matches_or_free(rule, name, _) if not rule[name]

matches_or_free(rule, name, text) if matches(rule[name], text)

# Go's expressions look neither ahead nor back: what must not follow is an expression of its own.
matches(expression, text) if {
	not expression["unless"]
	regex.match(expression["is"], text)
}

matches(expression, text) if {
	regex.match(expression["is"], text)
	not regex.match(expression["unless"], text)
}

judged(rule, view) := operands | values if {
	first := patterns(rule, view)
	operands := {[operand, access(rule)] |
		rule.operands != "any"
		some i, operand in view.operands
		i >= first
		not view.dynamic[i]
	}
	values := {[text, kind] | some [name, text] in view.values; named(rule, name); kind := value_access(rule, name)}
}

# Whether an option's value is a path.
named(rule, name) if {
	not name in rule.texts
	not name in rule.pattern_options
}

named(rule, name) if {
	not name in rule.texts
	name in rule.pattern_options
	not rule.pattern
}

access(rule) := "write" if rule.operands == "write"

access(rule) := "read" if rule.operands == "read"

access(rule) := "enter" if rule.operands == "enter"

access(rule) := "copy" if rule.operands == "copy"

value_access(rule, name) := "write" if name in rule.writes

value_access(rule, name) := "read" if {
	not name in rule.writes
	rule.operands != "any"
}
