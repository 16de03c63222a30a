// KERNEL(name) for each kernel that the host launches.
KERNEL(decode_plan)
KERNEL(decode_any)
