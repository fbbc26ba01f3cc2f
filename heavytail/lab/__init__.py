"""From a `Run` to a row of a table: data sets, engines, the trainer, sweeps and simulations."""

from heavytail.extras import require

require("lab", "tqdm", "pandas", "pyarrow", "safetensors")
