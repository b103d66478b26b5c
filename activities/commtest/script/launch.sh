# Runs nccl-tests over the workers of an MPIJob, one collective after the other.
# Its own lines begin with "# gpumedic"; a log without the last of them is not
# complete. NCCL_TESTS_DIR and NCCL_TESTS_SUFFIX say where the image keeps its
# programs, and how they are called, where that is not the usual way.
pass=""
for name in $COMMTEST_PASS; do pass="$pass -x $name"; done
if [ -n "$LD_LIBRARY_PATH" ]; then pass="$pass -x LD_LIBRARY_PATH"; fi
start=$(date +%s)
for op in $COMMTEST_OPS; do
	left=$((COMMTEST_SECONDS - $(date +%s) + start))
	echo "# gpumedic begin $op"
	# Open MPI's own traffic goes by TCP on whatever the workers share: only
	# NCCL's is the test.
	mpirun --allow-run-as-root -np "$COMMTEST_PROCESSES" -N "$COMMTEST_PER_NODE" --bind-to none --timeout "$((left > 1 ? left : 1))" \
		--mca pml ^ucx --mca btl tcp,self --mca btl_tcp_if_exclude lo,docker0 $pass \
		"${NCCL_TESTS_DIR:+$NCCL_TESTS_DIR/}${op}_perf$NCCL_TESTS_SUFFIX" $COMMTEST_FLAGS 2>&1
	code=$?
	echo "# gpumedic end $op $code"
	if [ "$code" -ne 0 ]; then exit "$code"; fi
done
echo "# gpumedic done"
