"""What trains many networks of one shape together: one protocol, and two modules that keep it.

`two_layer` is for networks with one hidden layer, `any_module` for every other.
"""
