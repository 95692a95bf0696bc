"""What the theory notebooks 01 to 05 measure: one module per notebook.

Each function takes the formula it checks as an argument, the right one by default, so that a test can hand in a wrong
one and see the check fail.
"""
