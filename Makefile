# Each verb is one command of tasks.py; `make help` lists them. make PYTHON=python3.12 VERB picks the interpreter.
# After Ctrl-C, tasks.py has said so and exits with 130; make ends with that code by itself.
PYTHON ?= python3
.DEFAULT_GOAL := help

.PHONY: help demo test check lint types notebooks docs docs-serve env bench bench-quick soak build coverage matrix lock
help demo test check lint types notebooks docs docs-serve env bench bench-quick soak build coverage matrix lock:
	@trap : INT; $(PYTHON) tasks.py $@ || test $$? = 130
