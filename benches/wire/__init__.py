"""What slow_wire.py is made of.

`network` makes a slow wire of network namespaces. `rank` is what each rank runs: `collectives` and `trainings` are its
cases, `turns` takes their times. `quantities` reads and prints rates and sizes, `report` makes tables, `planning` asks
the model of links, `document` writes tables into docs/collectives.md, and `figures` draws.

Only what a rank runs imports torch.
"""
