"""Names of the files in the directory of a run."""

RESULTS_FILE = "results.json"
PREDICTIONS_FILE = "test_predictions.npz"
EVALUATION_FILE = "evaluation.json"
BENCHMARK_FILE = "benchmark.json"
JOB_FILE = "job.json"
CHECKPOINTS = "checkpoints"
