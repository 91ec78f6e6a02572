"""The parts that verbs share: the command-line parser, tables, lines and progress on a terminal, the question about trust."""
