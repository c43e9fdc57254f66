"""Everything that can be killed is killed, and then it is counted: nothing lost, doubled or corrupt."""
