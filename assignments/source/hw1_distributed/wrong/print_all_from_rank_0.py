# replaces: sequential_print.py
# caught by: every_rank_prints_its_own_line
# mistake: rank 0 prints for everybody


def run_sequential(rank, size, num_iter=10):
    if rank == 0:
        iteration = "\n".join(f"Process {turn}" for turn in range(size))
        print("\n---\n".join([iteration] * num_iter), flush=True)
