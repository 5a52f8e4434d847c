"""The command line: a module for each group of commands, and the program that runs them."""
