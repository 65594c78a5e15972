# replaces: sequential_print.py
# caught by: prints_in_rank_order
# mistake: orders the ranks by pauses, which holds only while all are equally fast
import time


def run_sequential(rank, size, num_iter=10):
    for iteration in range(num_iter):
        time.sleep(0.1 * rank)
        if rank == 0 and iteration > 0:
            print("---", flush=True)
        print(f"Process {rank}", flush=True)
        time.sleep(0.1 * (size - rank))
