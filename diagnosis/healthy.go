package diagnosis

// healthyLog is what logs of jobs that work are full of, a line of each kind. The
// prefilter keeps away from the runs of bytes that stand here. It decides about
// speed alone, never about what is found.
const healthyLog = `2026-11-24T08:15:42.123456789Z stdout F INFO 2026-11-24 08:15:42,123 trainer.py:512 step 1200/500000
[2026-11-24 08:15:42,123][INFO] epoch 3 batch 120 loss 2.1034 lr 1.2e-04 grad_norm 0.512 tokens/s 98304 step_time 0.412s
{'loss': 0.1171, 'grad_norm': 0.76, 'learning_rate': 2.2e-07, 'epoch': 3.71} INFO:root:saving checkpoint to /checkpoints/step_1200
 iteration     1200/  500000 | consumed samples:      2457600 | elapsed time per iteration (ms): 4123.1 | learning rate: 4.475E-05 | global batch size:  2048 | lm loss: 2.117073E+00 | grad norm: 0.150 | number of skipped iterations:   0 | number of nan iterations:   0 |
Epoch 3:  82%|████████▏ | 1027/1252 [36:43<08:05,  2.15s/it, loss=0.946, v_num=12] Train Epoch: 3 [51200/60000 (85%)]	Loss: 0.112345
worker-0:595:595 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_1:1/IB [RO]; OOB eth0:10.0.0.4<0>
worker-0:595:701 [0] NCCL INFO Channel 00/08 :    0   1   2   3   4   5   6   7 via P2P/CUMEM/read [send] [receive] via NET/IB/0/GDRDMA
worker-0:595:701 [0] NCCL INFO Connected all rings comm 0x55d0 rank 0 nRanks 8 nNodes 2 localRanks 8 localRank 0 - Init COMPLETE
worker-0:595:701 [0] NCCL INFO Trees [0] 1/8/-1->0->-1 [1] 1/-1/-1->0->9 P2P Chunksize set to 131072 16 coll channels, 16 p2p channels
[rank0]:[W1124 08:15:42.123456789 ProcessGroupNCCL.cpp:1250] torch.distributed INFO using device cuda:0 world size 8 backend nccl
INFO 11-24 08:15:42 [loggers.py:123] Engine 000: Avg prompt throughput: 532.2 tokens/s, Avg generation throughput: 20.5 tokens/s, Running: 3 reqs, Waiting: 0 reqs, GPU KV cache usage: 0.7%, Prefix cache hit rate: 0.0%
INFO:     10.0.0.7:56910 - "POST /v1/chat/completions HTTP/1.1" 200 OK  DEBUG connection pool reading the data file and the model from the path
[rank3][INFO] data shard train-00012-of-02048.tar read 512 samples from /mnt/dataset/shards, prefetch queue 7 of 16, host rss 20.1 GiB, shuffle buffer filled, sharding strategy full_shard
Loading checkpoint shards: 100%|██████████| 30/30 [00:12<00:00,  2.31it/s] loading weights took 12.3 seconds model parameters tokenizer vocabulary sequence length max_seq_len attention
[INFO] validation accuracy top-1 0.761 perplexity 8.21 throughput 1234.5 samples/s TFLOPs 149.1 mfu 0.42 memory allocated 31.2 reserved 40.1 max_mem gradient clipping optimizer step weight decay warmup
I1124 08:15:42.123456 1 controller.go:123] "Reconciled" object namespace/name successfully started running pod container image pulled scheduled assigned volume mounted ready true status condition updated node cluster request response service
DEBUG urllib3.connectionpool: https://storage.example.com:443 "GET /bucket/object HTTP/1.1" 200 None cache hit file size bytes written directory config default version device gpu cuda driver number workers batch
the of and to in for is that with as are from this will not be on at by it has was or an can all memory error time out process server failed worker
`
